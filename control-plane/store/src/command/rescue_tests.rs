//! Tests with real damage: pages are overwritten, and the rows of the other pages are rescued.

use std::collections::HashSet;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use opentracy_proto::v1;
use uuid::Uuid;

use super::rescue;
use crate::history::SQLITE;
use crate::sqlite::{inspect, salvage};
use crate::traces::sqlite::rescue::{Row, recognize};
use crate::{
    AuditEntry, AuditLog as _, Batch, Feedback, FeedbackStore as _, Filter, Micros, Order, Query,
    Sqlite, TraceStore as _,
};

const PAGE: u64 = 8192;

/// Creates a store of traces of various sizes, each with an attempt. Returns their ids.
async fn fill(path: &Path, count: u64) -> Vec<Uuid> {
    let store = Sqlite::open(path).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let mut ids = Vec::new();
    for number in 0..count {
        let id = Uuid::now_v7();
        ids.push(id);
        // Some are longer than a page, even compressed.
        let length = if number % 10 == 0 { 30_000 } else { 400 };
        let text: String = (0..length).map(|_| random.alphanumeric()).collect();
        let mut batch = Batch::default();
        batch.add(v1::IngestRequest {
            traces: vec![v1::Trace {
                id: id.to_string(),
                start_unix_micros: 1_700_000_000_000_000 + number,
                model: "model".to_owned(),
                request: format!(r#"{{"messages":[{{"content":"needle {text}"}}]}}"#).into_bytes(),
                ..v1::Trace::default()
            }],
            attempts: vec![v1::Attempt {
                trace_id: id.to_string(),
                number: 1,
                provider: "openai".to_owned(),
                ..v1::Attempt::default()
            }],
        });
        store.write(batch).await.unwrap();
        let feedback = Feedback {
            trace_id: id,
            at: Micros(7),
            source: "user".to_owned(),
            error: if number % 2 == 0 { 1.0 } else { 0.25 },
        };
        store.add_feedback(vec![feedback]).await.unwrap();
    }
    let entry = AuditEntry {
        at: Micros(9),
        action: "delete".to_owned(),
        actor: "somebody".to_owned(),
        request_id: "r".to_owned(),
        subject: "s".to_owned(),
        count: 3,
    };
    store.note(entry).await.unwrap();
    ids
}

/// Merges the WAL into the file, so that damage to the file has an effect.
fn checkpoint(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
}

fn overwrite(path: &Path, pages: impl IntoIterator<Item = u64>) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    for page in pages {
        file.write_all_at(&[0xa5; PAGE as usize], (page - 1) * PAGE)
            .unwrap();
    }
}

async fn stored(path: &Path, word: Option<&str>) -> HashSet<Uuid> {
    let store = Sqlite::open(path).unwrap();
    let query = Query {
        filter: Filter {
            words: word.map(str::to_owned).into_iter().collect(),
            ..Filter::default()
        },
        order: Order::OldestFirst,
        limit: 10_000,
        after: None,
    };
    let page = store.list(query).await.unwrap();
    assert!(page.traces.iter().all(|trace| trace.attempts.len() <= 1));
    page.traces
        .into_iter()
        .map(|trace| trace.record.id)
        .collect()
}

/// Returns the traces whose rows begin or continue on a page.
fn on_page(path: &Path, page: u64) -> HashSet<Uuid> {
    let ids = |path: &Path| {
        let mut ids = HashSet::new();
        salvage::rows(path, |values| {
            if let Some(Row::Trace(record)) = recognize(&values) {
                ids.insert(record.id);
            }
            Ok(())
        })
        .unwrap();
        ids
    };
    let without = path.with_extension("without");
    std::fs::copy(path, &without).unwrap();
    overwrite(&without, [page]);
    let left = ids(&without);
    ids(path).difference(&left).copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_file_is_found_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.db");
    fill(&path, 20).await;
    let found = inspect::inspect(&path, &SQLITE).unwrap();
    assert_eq!(found.problems, [""; 0]);
    assert!(found.counts.contains(&("traces", 20)) && found.counts.contains(&("audit", 1)));
    assert_eq!(found.schema, u32::try_from(SQLITE.newest()).ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_read_of_a_file_whose_log_is_not_in_it_yet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.db");
    let ids = fill(&path, 50).await;
    let (rescued, kept) = rescue::repair(&path).await.unwrap();
    assert_eq!((rescued.traces, rescued.attempts), (50, 50));
    let others = [("feedback entries", 50), ("audit entries", 1)];
    assert_eq!(rescued.others, others);
    assert_eq!((rescued.refused, rescued.pages.damaged), (0, 0));
    assert_eq!(
        stored(&path, Some("needle")).await,
        ids.into_iter().collect()
    );
    assert!(kept.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_any_page_costs_the_traces_on_it() {
    let source = tempfile::tempdir().unwrap();
    let source = source.path().join("traces.db");
    let ids: HashSet<Uuid> = fill(&source, 120).await.into_iter().collect();
    checkpoint(&source);
    let pages = std::fs::metadata(&source).unwrap().len() / PAGE;
    let mut random = fastrand::Rng::with_seed(5);
    // The first page holds the header and the schema.
    let mut cases = vec![1];
    cases.extend((0..8).map(|_| random.u64(1..=pages)));
    for page in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.db");
        std::fs::copy(&source, &path).unwrap();
        let lost = on_page(&path, page);
        overwrite(&path, [page]);
        let (rescued, kept) = rescue::repair(&path).await.unwrap();
        let expected: HashSet<Uuid> = ids.difference(&lost).copied().collect();
        assert_eq!(rescued.traces, expected.len() as u64, "page {page}");
        // A page holds a few dozen short rows.
        assert!(lost.len() < 40, "page {page}");
        assert_eq!(stored(&path, None).await, expected, "page {page}");
        assert_eq!(stored(&path, Some("needle")).await, expected, "page {page}");
        assert_eq!(inspect::inspect(&path, &SQLITE).unwrap().problems, [""; 0]);
        assert!(std::fs::metadata(kept).unwrap().len() >= pages * PAGE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_found_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.db");
    fill(&path, 60).await;
    checkpoint(&path);
    let pages = std::fs::metadata(&path).unwrap().len() / PAGE;
    for pages in [vec![1], vec![pages / 2], (2..pages).collect()] {
        let damaged = folder.path().join("damaged.db");
        std::fs::copy(&path, &damaged).unwrap();
        overwrite(&damaged, pages.clone());
        let found = inspect::inspect(&damaged, &SQLITE);
        assert!(
            found.is_err() || found.is_ok_and(|found| !found.problems.is_empty()),
            "{pages:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.db");
    let ids = fill(&path, 60).await;
    let store = Sqlite::open(&path).unwrap();
    let filter = Filter {
        until: Some(Micros(1_700_000_000_000_030)),
        ..Filter::default()
    };
    assert_eq!(store.delete(filter).await.unwrap(), 30);
    drop(store);
    rescue::repair(&path).await.unwrap();
    assert_eq!(
        stored(&path, None).await,
        ids[30..].iter().copied().collect()
    );
}
