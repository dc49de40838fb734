//! Measures masking, by the shape of the text: `cargo bench -p opentracy-translate --bench
//! redaction`.
//!
//! Masking runs on Envoy's workers, so the budget is 2 ms per 100 KB for each of these shapes. With
//! the default detectors on an Intel Xeon at 2.80 GHz, in ms per 100 KB: English 0.26, source code
//! 0.49, base64 0.53, URLs 0.70, long digit strings 0.33, long letter strings 0.34 to 0.81,
//! `a@a@a@` 0.81, errors that quote keys 0.37, digits with dashes 1.37, and at most 1.89 (times of
//! day). Repeated random pieces of two or three bytes take up to 2.4.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use opentracy_translate::redact::{DEFAULT, KeyMask, NATIONAL_IDS, Redactor};

mod shapes;

const BYTES: usize = 100_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let names = DEFAULT.iter().chain(&NATIONAL_IDS).copied();
    let default = Redactor::default();
    // These detectors exist, so the default is never used.
    let all = Redactor::new(names, []).unwrap_or_default();
    let keys = KeyMask::new(["0123abcd-a-key-of-a-provider"]);
    for (shape, piece) in shapes::SHAPES {
        let text = shapes::text(piece, BYTES);
        let mut group = criterion.benchmark_group(format!("masking {shape}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("default", |bencher| {
            bencher.iter(|| default.mask_text(black_box(&text)).len());
        });
        group.bench_function("with national ids", |bencher| {
            bencher.iter(|| all.mask_text(black_box(&text)).len());
        });
        group.bench_function("a provider's error", |bencher| {
            bencher.iter(|| keys.mask(black_box(&text)).len());
        });
        group.finish();
    }
    criterion.final_summary();
}
