//! The pure parts of a review, and a policy that decides on placement. `cargo bench -p wardset-bench` runs them.
#![expect(clippy::unwrap_used, reason = "a bench that can't go on ends")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jsonptr::{Pointer, PointerBuf};
use wardset_bench::inside::{self, far_away};
use wardset_bench::policies;
use wardset_bench::reviews::{Size, review};
use wardset_core::chain::Chain;
use wardset_core::document::{Document, diff};
use wardset_core::patch::PatchOperation;
use wardset_core::plan::Phase;
use wardset_core::review::Context;
use wardset_core::review::Question;
use wardset_core::verdict::Verdict;
use wardset_runtime::EngineOptions;

const SIZES: [Size; 2] = [Size::Usual, Size::Large];

fn document(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("document");
    for size in SIZES {
        let review = inside::sample(size).unwrap();
        let text = review.object.text();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("parse", size.label()), |bencher| {
            bencher.iter(|| Document::parse(black_box(text)));
        });
        let pointer = Pointer::from_static("/spec/template/spec/tolerations");
        group.bench_function(BenchmarkId::new("get", size.label()), |bencher| {
            bencher.iter(|| review.object.get(black_box(pointer)));
        });
        let bytes = wardset_bench::reviews::review(size);
        group.bench_function(BenchmarkId::new("review", size.label()), |bencher| {
            bencher.iter(|| Question::parse(black_box(&bytes)));
        });
    }
}

fn patch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("patch");
    let operation = PatchOperation::Add {
        path: PointerBuf::parse("/spec/template/spec/tolerations/-").unwrap(),
        value: r#"{"key":"nvidia.com/gpu","operator":"Exists"}"#.to_owned(),
    };
    for size in SIZES {
        let before = inside::sample(size).unwrap().object;
        group.bench_function(BenchmarkId::new("apply", size.label()), |bencher| {
            bencher.iter(|| {
                let mut document = Document::clone(&before);
                document.apply(black_box(&operation)).unwrap();
                document
            });
        });
        let mut after = Document::clone(&before);
        after.apply(&operation).unwrap();
        group.bench_function(BenchmarkId::new("diff", size.label()), |bencher| {
            bencher.iter(|| diff(black_box(&before), black_box(&after)));
        });
    }
}

/// The chain with policies without an answer: its own cost.
fn chain(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let snapshot = inside::snapshot(&runtime, &policies::yaml(10), EngineOptions::default(), None).unwrap();
    let review = inside::sample(Size::Usual).unwrap();
    criterion.bench_function("chain/ten silent policies", |bencher| {
        bencher.iter(|| {
            let context = Context::default();
            let mut chain = Chain::new(&review, &context, snapshot.plans(), Phase::Mutate);
            while let Some(turn) = chain.turn() {
                chain.take(&turn, Ok(Verdict::default()), std::time::Duration::ZERO);
            }
            chain.finish()
        });
    });
}

/// The policy that narrows a DaemonSet to workers, in its sandbox.
fn placement(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let yaml = policies::only("workers");
    let snapshot = inside::snapshot(&runtime, &yaml, EngineOptions::default(), None).unwrap();
    let context = Context::default();
    for size in SIZES {
        let review = inside::sample(size).unwrap();
        criterion.bench_function(&format!("placement/workers only, {}", size.label()), |bencher| {
            bencher.to_async(&runtime).iter(|| snapshot.decide(&review, &context, Phase::Mutate, far_away()));
        });
    }
    let bytes = review(Size::Usual);
    let five = inside::snapshot(&runtime, &policies::yaml(5), EngineOptions::default(), None).unwrap();
    criterion.bench_function("review/five policies, 7 KB", |bencher| {
        bencher.to_async(&runtime).iter(|| inside::whole(&five, &bytes));
    });
}

criterion_group!(benches, document, patch, chain, placement);
criterion_main!(benches);
