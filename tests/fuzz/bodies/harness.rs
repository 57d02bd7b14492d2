//! Runs bodies as unit tests: over every input that once broke a promise, and for a moment over random ones.

use super::Target;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::fs;
use std::path::Path;

/// Gives each body its corpus, which is not empty.
pub(super) fn run_over_corpora(targets: &[Target]) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    for (name, body) in targets {
        let cases: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().collect();
        assert!(!cases.is_empty(), "{name} has no corpus");
        for case in cases {
            body(&fs::read(case.unwrap().path()).unwrap());
        }
    }
}

/// Gives all bodies random bytes and random printable text.
pub(super) fn run_over_random_inputs(targets: &[Target]) {
    let bytes = prop::collection::vec(any::<u8>(), 0..1000);
    let text = "[ -~\\n]{0,200}".prop_map(String::into_bytes);
    let run = |input: Vec<u8>| {
        targets.iter().for_each(|(_, body)| body(&input));
        Ok(())
    };
    // What fails once is written down beside this file, and tried first from then on.
    let config = ProptestConfig { source_file: Some(file!()), ..ProptestConfig::default() };
    TestRunner::new(config.clone()).run(&bytes, run).unwrap();
    TestRunner::new(config).run(&text, run).unwrap();
}
