//! Compiles the `.proto` files with `protox`, so that nobody needs a `protoc`, and writes down what their messages and
//! calls look like: `shapes.rs`, for the bounds that are checked before anything is decoded. `servers.rs` and `clients.rs`
//! have a method for each service.

use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use std::fmt::Write as _;
use std::path::Path;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Where the code that is generated from each package lies.
const PACKAGES: [(&str, &str); 2] =
    [("relay.storage.v1", "crate::messages"), ("relay.federation.v1", "crate::peer_messages")];

/// Where the `.proto` files are.
const FOLDERS: [&str; 2] = ["relay/storage/v1", "relay/federation/v1"];

/// Services that federation serves to gateways; storage serves all others.
const OF_FEDERATION: [&str; 1] = ["Recalls"];

fn main() -> Outcome<()> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        println!("cargo:rerun-if-changed={folder}");
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    let descriptors = protox::compile(files, ["."])?;
    let generated = std::env::var_os("OUT_DIR").ok_or("cargo says where to write")?;
    let write = |name: &str, text: String| std::fs::write(Path::new(&generated).join(name), text);
    write("shapes.rs", shapes(&descriptors)?)?;
    write("servers.rs", servers(&descriptors)?)?;
    write("clients.rs", clients(&descriptors)?)?;
    tonic_prost_build::configure()
        .bytes(".")
        .skip_debug(PACKAGES.map(|(package, _)| format!(".{package}")))
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Each service's name, the name of its module and method, and the module of its package.
fn services(files: &FileDescriptorSet) -> Outcome<Vec<(&str, String, &'static str)>> {
    let mut all = Vec::new();
    for file in &files.file {
        for service in &file.service {
            all.push((service.name(), snake_case(service.name()), module(file)?));
        }
    }
    Ok(all)
}

/// A method of `Services` for each service, which serves it.
fn servers(files: &FileDescriptorSet) -> Outcome<String> {
    let mut text = "impl Services {\n".to_owned();
    for (name, snake, module) in services(files)? {
        let server = format!("{module}::{snake}_server");
        writeln!(
            text,
            "    /// Serves `{name}`.\n    #[must_use]\n    \
             pub fn {snake}(self, service: &Arc<impl {server}::{name}>) -> Self {{\n        \
             let MessageBounds {{ request, reply }} = MessageBounds::of(\"{name}\");\n        \
             let server = {server}::{name}Server::from_arc(Arc::clone(service));\n        \
             self.with(server.max_decoding_message_size(request).max_encoding_message_size(reply))\n    }}\n"
        )?;
    }
    Ok(text + "}\n")
}

/// A method for each service, which returns its client: of `PeeringClient` for what federation serves, else of
/// `StorageClient`.
fn clients(files: &FileDescriptorSet) -> Outcome<String> {
    let mut text = String::new();
    for (name, snake, module) in services(files)? {
        let caller = if OF_FEDERATION.contains(&name) { "PeeringClient" } else { "StorageClient" };
        let client = format!("{module}::{snake}_client::{name}Client");
        writeln!(
            text,
            "impl {caller} {{\n    /// Calls of `{name}`.\n    #[must_use]\n    \
             pub fn {snake}(&self) -> {client}<Calls> {{\n        \
             let MessageBounds {{ reply, .. }} = MessageBounds::of(\"{name}\");\n        \
             {client}::new(self.channel.clone())\n            .max_decoding_message_size(reply)\n            \
             .max_encoding_message_size(MAX_GRPC_MESSAGE)\n    }}\n}}\n"
        )?;
    }
    Ok(text)
}

/// A static for every message, and a list of all calls.
fn shapes(files: &FileDescriptorSet) -> Outcome<String> {
    let mut text = String::new();
    let mut all = Vec::new();
    let mut calls = String::new();
    for file in &files.file {
        for message in &file.message_type {
            if !message.nested_type.is_empty() {
                return Err("messages inside of messages have no bounds yet".into());
            }
            all.push(name_of(&full_name(file, message.name())));
            text.push_str(&shape(file, message)?);
        }
        let module = module(file)?;
        for name in file.enum_type.iter().map(EnumDescriptorProto::name) {
            writeln!(
                text,
                "impl std::fmt::Debug for {module}::{name} {{\n\
                 \x20   fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{\n\
                 \x20       formatter.write_str(self.as_str_name())\n    }}\n}}\n"
            )?;
        }
        for service in &file.service {
            for method in &service.method {
                writeln!(
                    calls,
                    "    Call {{ path: \"/{}.{}/{}\", streams: {} }},",
                    file.package(),
                    service.name(),
                    method.name(),
                    method.client_streaming() || method.server_streaming(),
                )?;
            }
        }
    }
    writeln!(text, "/// Every message.\n#[cfg(test)]\npub(crate) static ALL: &[&Shape] = &[")?;
    for name in all {
        writeln!(text, "    &{name},")?;
    }
    writeln!(text, "];\n\n/// Every call.\npub(crate) static CALLS: &[Call] = &[\n{calls}];")?;
    Ok(text)
}

fn shape(file: &FileDescriptorProto, message: &DescriptorProto) -> Outcome<String> {
    let full = full_name(file, message.name());
    let name = name_of(&full);
    let module = module(file)?;
    let mut text = format!("pub(crate) static {name}: Shape = Shape {{ name: \"{full}\", fields: &[\n");
    for field in &message.field {
        writeln!(
            text,
            "    Field {{ number: {}, name: \"{}\", most: {}, kind: {} }},",
            field.number(),
            field.name(),
            most(&full, field),
            kind(field),
        )?;
    }
    writeln!(
        text,
        "] }};\nimpl Shaped for {module}::{0} {{ const SHAPE: &'static Shape = &{name}; }}\n\
         impl std::fmt::Debug for {module}::{0} {{\n\
         \x20   fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{\n\
         \x20       formatter.write_str(\"{0}\")\n    }}\n}}\n",
        message.name()
    )?;
    for (number, choice) in (0..).zip(&message.oneof_decl) {
        // A field that may be absent is written down as a choice of one.
        let is_member = |field: &&FieldDescriptorProto| field.oneof_index == Some(number);
        if message.field.iter().filter(is_member).all(FieldDescriptorProto::proto3_optional) {
            continue;
        }
        let (within, name) = (snake_case(message.name()), camel_case(choice.name()));
        let variants: String = message
            .field
            .iter()
            .filter(is_member)
            .map(|field| camel_case(field.name()))
            .map(|variant| format!("            Self::{variant}(_) => \"{variant}\",\n"))
            .collect();
        writeln!(
            text,
            "impl std::fmt::Debug for {module}::{within}::{name} {{\n\
             \x20   fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{\n\
             \x20       formatter.write_str(match self {{\n{variants}        }})\n    }}\n}}\n"
        )?;
    }
    Ok(text)
}

/// The Rust module of a file's messages.
fn module(file: &FileDescriptorProto) -> Outcome<&'static str> {
    let known = PACKAGES.iter().find(|(package, _)| *package == file.package());
    Ok(known.ok_or("a known package")?.1)
}

/// The module of a message's choices: `write_outcome` for `WriteOutcome`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The type of a choice: `Outcome` for `outcome`.
fn camel_case(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    };
    name.split('_').map(word).collect()
}

/// How often a field may come: the table says it for repeated ones. A message that comes twice would be merged, list by
/// list. Of everything else, the last one counts, and the others take no memory.
fn most(message: &str, field: &FieldDescriptorProto) -> String {
    if field.label() == Label::Repeated {
        format!("most(\"{message}\", \"{}\")", field.name())
    } else if field.r#type() == Type::Message {
        "1".to_owned()
    } else {
        "usize::MAX".to_owned()
    }
}

fn kind(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Group => format!("Kind::Message(&{})", name_of(field.type_name())),
        Type::String | Type::Bytes => "Kind::Bytes".to_owned(),
        Type::Double | Type::Fixed64 | Type::Sfixed64 => "Kind::Fixed(8)".to_owned(),
        Type::Float | Type::Fixed32 | Type::Sfixed32 => "Kind::Fixed(4)".to_owned(),
        _ => "Kind::Varint".to_owned(),
    }
}

fn full_name(file: &FileDescriptorProto, message: &str) -> String {
    format!("{}.{message}", file.package())
}

/// `.relay.storage.v1.BlobName` is `RELAY_STORAGE_V1_BLOBNAME` in Rust.
fn name_of(full: &str) -> String {
    full.trim_start_matches('.').replace('.', "_").to_uppercase()
}
