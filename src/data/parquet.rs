//! Hugging Face style Parquet: a column of encoded images, a column of labels, class names in the schema's metadata.
//!
//! The image column is a struct with a field `bytes` (as the `datasets` library writes it) or plain binary; the label
//! column holds integers. Names are those used on the hub; a label column of another name is found where the metadata call it, and no
//! other, one of classes. Class names stand in the metadata key `huggingface`:
//! `{"info": {"features": {"label": {"_type": "ClassLabel", "names": […]}}}}`.

use super::stored::{Images, Labels, NULL_LABEL, Places, Stored, UNLABELLED};
use crate::decoder_panic::caught;
use crate::stand_in::found_in;
use crate::{Error, Result};
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::file::reader::ChunkReader;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, Schema};
use bytes::Bytes;
use std::fs::File;
use std::path::Path;

const IMAGE_COLUMNS: [&str; 4] = ["img", "image", "images", "picture"];
const LABEL_COLUMNS: [&str; 5] = ["label", "labels", "fine_label", "class", "target"];
/// Rows that are decoded at once: the reader holds their images in one buffer, which ends at 2³¹ bytes.
const ROWS: usize = 16;

/// Reads a Parquet file.
pub(super) fn read_file(path: &Path, labels: Labels) -> Result<Stored> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    read(path, file, labels)
}

/// Reads Parquet held in memory; `path` is for messages.
pub(super) fn read_bytes(path: &Path, bytes: Vec<u8>, labels: Labels) -> Result<Stored> {
    read(path, Bytes::from(bytes), labels)
}

fn read(path: &Path, source: impl ChunkReader + 'static, wanted: Labels) -> Result<Stored> {
    let damaged = |place: String, reason: String| {
        Error::format(
            path,
            place,
            "readable Parquet",
            reason,
            "fetch or write the file again (uncompressed, snappy, zstd, gzip or lz4)",
        )
    };
    let open = || ParquetRecordBatchReaderBuilder::try_new(source);
    let builder = caught(|| open().map_err(|error| error.to_string()))
        .map_err(|reason| damaged("Parquet footer".into(), found_in(path, reason)))?;
    let image = image_column(path, builder.schema())?;
    let label = match wanted {
        Labels::Read => Some(label_column(path, builder.schema())?),
        Labels::Ignored => None,
    };
    let name = |column: usize| builder.schema().field(column).name().clone();
    let (image_name, label_name) = (name(image), label.map(name));
    let classes = (label_name.as_ref()).and_then(|label| class_names(builder.schema(), label));
    let mask = ProjectionMask::roots(builder.parquet_schema(), [image].into_iter().chain(label));
    let mut reader = builder
        .with_batch_size(ROWS)
        .with_projection(mask)
        .build()
        .map_err(|error| damaged("Parquet row groups".into(), error.to_string()))?;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let mut next = || caught(|| reader.next().transpose().map_err(|error| error.to_string()));
    while let Some(batch) =
        next().map_err(|reason| damaged(format!("rows from {} on", images.len()), reason))?
    {
        let column = |name: &str| {
            let absent = || damaged("columns".into(), "a row group without them".into());
            batch.column_by_name(name).ok_or_else(absent)
        };
        append_images(path, column(&image_name)?, &mut images)?;
        if let Some(label) = &label_name {
            append_labels(path, column(label)?, &mut labels)?;
        }
    }
    labels.resize(images.len(), 0);
    Ok(Stored {
        format: "Parquet",
        images: Images::Encoded(images),
        places: Places::Rows,
        labels,
        classes,
    })
}

/// Of several columns of such names, the first that holds bytes.
fn image_column(path: &Path, schema: &Schema) -> Result<usize> {
    let fields = schema.fields();
    let fits = |column: &usize| holds_images(fields[*column].data_type());
    let named = IMAGE_COLUMNS.iter();
    let mut named = named.filter_map(|name| schema.index_of(name).ok());
    // A column of another name is taken when it is the only one that can hold images.
    let only = || {
        let mut fitting = (0..fields.len()).filter(fits);
        fitting.next().filter(|_| fitting.next().is_none())
    };
    (named.find(fits).or_else(only))
        .ok_or_else(|| missing(path, schema, "a column of image bytes", &IMAGE_COLUMNS))
}

/// Of several columns of such names, the first that holds numbers: names of classes may stand beside them. Where there is none, the
/// only one of numbers that the metadata call one of classes.
fn label_column(path: &Path, schema: &Schema) -> Result<usize> {
    let fits = |column: &usize| schema.field(*column).data_type().is_integer();
    let named = LABEL_COLUMNS.iter();
    let mut named = named.filter_map(|name| schema.index_of(name).ok());
    let features = features(schema);
    let is_of_classes = |column: &usize| {
        let feature = (features.as_ref()).and_then(|all| all.get(schema.field(*column).name()));
        feature.is_some_and(|feature| feature["_type"] == "ClassLabel")
    };
    let only = || {
        let mut fitting = (0..schema.fields().len()).filter(|it| fits(it) && is_of_classes(it));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    named.find(fits).or_else(only).ok_or_else(|| {
        let what = "a column of integer labels";
        missing(path, schema, what, &LABEL_COLUMNS).and_remedy(UNLABELLED)
    })
}

fn missing(path: &Path, schema: &Schema, what: &str, names: &[&str]) -> Error {
    let fields = schema.fields().iter();
    let found = fields.map(|field| format!("{} ({})", field.name(), field.data_type()));
    let expected = format!("{what} named {}", names.join(", "));
    let found = found.collect::<Vec<_>>().join(", ");
    let remedy = "rename the column or write it in that type";
    Error::format(path, "columns", expected, found, remedy)
}

fn holds_images(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields
            .find("bytes")
            .is_some_and(|(_, field)| is_binary(field.data_type())),
        other => is_binary(other),
    }
}

fn is_binary(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

/// A null has no bytes.
fn append_images(path: &Path, column: &ArrayRef, images: &mut Vec<Vec<u8>>) -> Result<()> {
    let whole = column.as_struct_opt();
    let binary = whole
        .and_then(|it| it.column_by_name("bytes"))
        .unwrap_or(column);
    let binary = cast(binary, &DataType::LargeBinary).map_err(|error| {
        Error::format(
            path,
            "image column",
            "binary",
            error.to_string(),
            "write it as binary",
        )
    })?;
    let outer = |row| whole.is_some_and(|it| it.is_null(row));
    for (row, bytes) in binary.as_binary::<i64>().iter().enumerate() {
        let bytes = bytes.filter(|_| !outer(row)).unwrap_or_default();
        images.push(bytes.to_vec());
    }
    Ok(())
}

fn append_labels(path: &Path, column: &ArrayRef, labels: &mut Vec<i64>) -> Result<()> {
    // What does not fit is refused, not taken for an absent label.
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let wide = cast_with_options(column, &DataType::Int64, &strict).map_err(|error| {
        Error::format(
            path,
            "label column",
            "integers",
            error.to_string(),
            "write it as int64",
        )
    })?;
    let wide = wide.as_primitive::<Int64Type>().iter();
    labels.extend(wide.map(|label| label.unwrap_or(NULL_LABEL)));
    Ok(())
}

/// What the metadata say of each column.
fn features(schema: &Schema) -> Option<serde_json::Value> {
    let mut metadata: serde_json::Value =
        serde_json::from_str(schema.metadata().get("huggingface")?).ok()?;
    (metadata.pointer_mut("/info/features")).map(serde_json::Value::take)
}

fn class_names(schema: &Schema, label: &str) -> Option<Vec<String>> {
    let features = features(schema)?;
    let names = features.get(label)?.get("names")?.as_array()?;
    let names: Option<Vec<String>> = names
        .iter()
        .map(|name| name.as_str().map(str::to_owned))
        .collect();
    names.filter(|names| !names.is_empty())
}

#[cfg(test)]
mod tests;
