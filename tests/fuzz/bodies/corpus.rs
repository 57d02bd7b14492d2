//! Every input that once broke a promise, given to its body again.

use std::fs;
use std::path::Path;

/// Runs bodies over their corpora. None is empty.
pub(super) fn run(targets: &[(&str, fn(&[u8]))]) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    for (name, body) in targets {
        let cases: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().collect();
        assert!(!cases.is_empty(), "{name} has no corpus");
        for case in cases {
            body(&fs::read(case.unwrap().path()).unwrap());
        }
    }
}
