//! Parquet tables of image files, as collections of data sets publish them: a column of bytes, alone or with the name of
//! each file, and a column of classes.

use super::images::{ArchivedImage, ImageArchive, MAX_IMAGES};
use crate::data::load::MAX_FILE_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::inputs::Extent;
use crate::panics::caught;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use std::fs::File;
use std::io::{BufWriter, Write};

/// Names of the columns, the first that is there.
const IMAGES: [&str; 5] = ["image", "img", "jpg", "png", "bytes"];
const CLASSES: [&str; 6] = ["label", "labels", "cls", "class", "fine_label", "target"];
/// How many times longer than the table the images in it may be, all together: they are compressed as they are.
const MOST_TIMES: u64 = 16;

/// The images of the table in `file`, copied to a file that has no name, because rows cannot be read alone.
///
/// # Errors
/// `Format`, if it is damaged or holds no images; `Unsupported`, if it is compressed in an unknown way; `Io`, if there is no
/// space for the copy.
pub(super) fn images(file: File) -> Result<ImageArchive> {
    let length = file.metadata().map_err(unreadable)?.len();
    let copy = tempfile::tempfile().map_err(unreadable)?;
    let mut images =
        Copied { images: Vec::new(), file: BufWriter::new(copy), end: 0, most: length * MOST_TIMES };
    let images = caught(std::panic::AssertUnwindSafe(move || {
        read(file, &mut images)?;
        Ok(images)
    }));
    let Copied { images, file, .. } = images.unwrap_or_else(|| Err(malformed("its pages are damaged")))?;
    let file = file.into_inner().map_err(|error| unreadable(error.into_error()))?;
    Ok(ImageArchive::unpacked(images, file))
}

fn read(file: File, images: &mut Copied) -> Result<()> {
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let column = |names: &[&str]| {
        let named = |name: &&str| schema.get_fields().iter().find(|field| field.name() == *name);
        names.iter().find_map(named).cloned()
    };
    let image = column(&IMAGES).ok_or_else(|| nameless(schema))?;
    let class = column(&CLASSES);
    let class_name = class.as_ref().map(|class| class.name().to_owned());
    let image_name = image.name().to_owned();
    let columns = [Some(image), class].into_iter().flatten().collect();
    let chosen = Type::group_type_builder(schema.name()).with_fields(columns).build().map_err(damaged)?;
    for row in reader.get_row_iter(Some(chosen)).map_err(damaged)? {
        let row = row.map_err(damaged)?;
        let label = class_name.as_deref().and_then(|name| class_of(column_of(&row, name)?));
        images.push(column_of(&row, &image_name), label)?;
    }
    Ok(())
}

/// Images as they are copied.
struct Copied {
    images: Vec<ArchivedImage>,
    file: BufWriter<File>,
    end: u64,
    most: u64,
}

impl Copied {
    fn push(&mut self, image: Option<&Field>, label: Option<usize>) -> Result<()> {
        let number = self.images.len();
        let (bytes, name) = image.and_then(bytes_and_name).ok_or_else(|| {
            malformed(format!("row {number} of its column of images holds no bytes of an image file"))
        })?;
        let extent = Extent { start: self.end, length: bytes.len() as u64 };
        self.end += extent.length;
        if extent.length > MAX_FILE_BYTES || self.end > self.most || number == MAX_IMAGES {
            return Err(malformed("its images are larger, or more, than such a table should hold"));
        }
        self.file.write_all(bytes).map_err(unreadable)?;
        let name = name.map_or_else(|| format!("row {number}"), str::to_owned);
        self.images.push(ArchivedImage { name, extent: Some(extent), label });
        Ok(())
    }
}

fn column_of<'a>(row: &'a Row, name: &str) -> Option<&'a Field> {
    row.get_column_iter().find(|(column, _)| *column == name).map(|(_, field)| field)
}

/// A file's bytes, and its name if that is there.
fn bytes_and_name(field: &Field) -> Option<(&[u8], Option<&str>)> {
    match field {
        Field::Bytes(bytes) => Some((bytes.data(), None)),
        Field::Group(row) => {
            let Field::Bytes(bytes) = column_of(row, "bytes")? else { return None };
            let name = column_of(row, "path").and_then(|path| match path {
                Field::Str(path) => Some(path.as_str()),
                _ => None,
            });
            Some((bytes.data(), name))
        }
        _ => None,
    }
}

fn class_of(field: &Field) -> Option<usize> {
    match *field {
        Field::Byte(class) => class.try_into().ok(),
        Field::Short(class) => class.try_into().ok(),
        Field::Int(class) => class.try_into().ok(),
        Field::Long(class) => class.try_into().ok(),
        Field::UByte(class) => Some(class.into()),
        Field::UShort(class) => Some(class.into()),
        Field::UInt(class) => class.try_into().ok(),
        Field::ULong(class) => class.try_into().ok(),
        _ => None,
    }
}

fn nameless(schema: &Type) -> Error {
    let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
    malformed(format!("no column of images among {}; call it {}", names.join(", "), IMAGES[0]))
}

fn damaged(error: ParquetError) -> Error {
    let kind = match error {
        ParquetError::NYI(_) => ErrorKind::Unsupported,
        _ => ErrorKind::Format,
    };
    Error::new(kind, format!("not a Parquet table that can be read: {error}"))
}

fn unreadable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot copy its images: {error}"))
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}
