//! Reads what is readable in a SQLite file, without SQLite: from every page that holds rows, whether or not the pages that lead
//! there are damaged.
//!
//! A row is known by its shape. Of the tables, `bodies` has all of a trace, and `attempts`, `feedback` and `audit` have what
//! else can't be made again. Deleted rows don't come back: they are overwritten (`secure_delete`).
//!
//! Source: the format of SQLite's files, <https://www.sqlite.org/fileformat2.html>.

mod image;
mod page;
mod row;

use std::path::Path;

pub use row::Row;

/// Pages that were looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pages {
    pub total: u64,
    /// Pages with rows that could not all be read.
    pub damaged: u64,
}

/// Gives every row of a file, and of its write-ahead log, to a function. Rows come in the order of pages.
pub fn rows(
    path: &Path,
    mut found: impl FnMut(Row) -> anyhow::Result<()>,
) -> anyhow::Result<Pages> {
    let image = image::Image::open(path)?;
    let mut pages = Pages {
        total: image.pages(),
        damaged: 0,
    };
    for number in 1..=image.pages() {
        let Ok(bytes) = image.page(number) else {
            pages.damaged += 1;
            continue;
        };
        let page = page::rows(&image, number, &bytes);
        pages.damaged += u64::from(page.is_damaged);
        for values in page.rows {
            if let Some(row) = row::recognize(values) {
                found(row)?;
            }
        }
    }
    Ok(pages)
}
