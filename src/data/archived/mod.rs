//! Images that lie in one file: TAR and ZIP archives, Parquet tables.

mod images;
#[cfg(feature = "parquet")]
mod table;
mod tape;

pub(super) use images::ImageArchive;
