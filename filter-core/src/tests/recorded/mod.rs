//! Recorded exchanges: whole calls through the gateway stage, and all that comes of them.
//!
//! Each group is a file in `fixtures/exchanges/`. `cargo xtask golden` shows the differences, and
//! with `--accept` writes the files. A change of the stage's structure leaves them as they are.

mod cases;
mod transcript;

use std::path::PathBuf;

use cases::Case;

#[test]
fn answers_in_every_format_are_as_recorded() {
    for format in ["openai", "anthropic", "gemini", "bedrock", "cohere"] {
        check(format, cases::of_format(format));
    }
}

#[test]
fn clients_of_other_apis_are_answered_as_recorded() {
    for api in ["messages", "responses"] {
        check(api, cases::of_api(api));
    }
}

#[test]
fn passthrough_calls_are_as_recorded() {
    check("passthrough", cases::passthrough());
}

#[test]
fn faults_and_limits_are_as_recorded() {
    check("faults", cases::faults());
}

/// Compares a group's transcript with its file, or writes the file.
fn check(group: &str, cases: Vec<Case>) {
    assert!(!cases.is_empty(), "{group}");
    // The state of a VM is its thread's.
    let in_new_vm = |case: &Case| {
        std::thread::scope(|scope| scope.spawn(|| transcript::of(case)).join().unwrap())
    };
    let now: String = cases.iter().map(in_new_vm).collect();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/exchanges")
        .join(format!("{group}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &now).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = recorded.lines().zip(now.lines()).find(|(a, b)| a != b);
    assert_eq!(
        (difference, recorded.len()),
        (None, now.len()),
        "{}; `cargo xtask golden` shows all differences",
        path.display()
    );
}
