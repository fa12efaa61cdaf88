use super::*;
use crate::data::{Dataset, faults};
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{
    BinaryArray, Int64Array, LargeBinaryArray, RecordBatch, StringArray, StructArray, UInt8Array,
    UInt64Array,
};
use arrow::datatypes::Field;
use std::collections::HashMap;
use std::sync::Arc;

fn parquet(columns: Vec<(&str, ArrayRef)>, metadata: &[(&str, &str)]) -> Vec<u8> {
    in_row_groups(columns, metadata, None)
}

/// Parquet in row groups of so many rows.
fn in_row_groups(
    columns: Vec<(&str, ArrayRef)>,
    metadata: &[(&str, &str)],
    rows: Option<usize>,
) -> Vec<u8> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let batch = RecordBatch::try_new(
        schema.clone(),
        columns.into_iter().map(|(_, column)| column).collect(),
    )
    .unwrap();
    let mut bytes = Vec::new();
    let properties = WriterProperties::builder().set_max_row_group_row_count(rows);
    let properties = Some(properties.build());
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, properties).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn images(values: Vec<Option<&[u8]>>) -> ArrayRef {
    let bytes: ArrayRef = Arc::new(BinaryArray::from(values.clone()));
    let paths: ArrayRef = Arc::new(StringArray::from(vec![Some("x.png"); values.len()]));
    let fields = vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ];
    Arc::new(StructArray::new(fields.into(), vec![bytes, paths], None))
}

fn labels(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn open(columns: Vec<(&str, ArrayRef)>, metadata: &[(&str, &str)]) -> Result<Stored> {
    read_bytes(
        Path::new("set.parquet"),
        parquet(columns, metadata),
        Labels::Read,
    )
}

fn refusal(columns: Vec<(&str, ArrayRef)>) -> String {
    open(columns, &[])
        .err()
        .expect("must be refused")
        .to_string()
}

/// Those of hidden test sets are -1 or null; what is not asked for is no reason to refuse a file.
#[test]
fn images_alone_need_no_labels_and_take_no_notice_of_wrong_ones() {
    let image = || ("image", images(vec![Some(b"x"), Some(b"y")]));
    let label = ("label", labels(vec![Some(-1), None]));
    for columns in [vec![image()], vec![image(), label]] {
        let bytes = parquet(columns, &[]);
        let labelled = Dataset::from_parquet_bytes("set.parquet", bytes.clone());
        let message = labelled.unwrap_err().to_string();
        let remedy = "; test images without labels are for ascribe rank --measurement prediction";
        assert!(message.contains(remedy), "{message}");
        let stored = read_bytes(Path::new("set.parquet"), bytes, Labels::Ignored).unwrap();
        assert_eq!((stored.labels, stored.classes), (vec![0, 0], None));
        let Images::Encoded(found) = stored.images else {
            panic!("not encoded")
        };
        assert_eq!(found, [b"x", b"y"]);
    }
}

#[test]
fn a_label_that_no_integer_holds_is_no_absent_one() {
    let label: ArrayRef = Arc::new(UInt64Array::from(vec![3, (1 << 63) + 5]));
    let columns = vec![
        ("image", images(vec![Some(b"x"), Some(b"y")])),
        ("label", label),
    ];
    let message = refusal(columns);
    assert!(
        message.starts_with("set.parquet: label column: expected integers, found "),
        "{message}"
    );
    assert!(message.contains("9223372036854775813"), "{message}");
}

#[test]
fn column_names_and_types_of_the_hub_are_recognised() {
    let names = r#"{"info": {"features": {"fine_label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}"#;
    let plain: ArrayRef = Arc::new(LargeBinaryArray::from(vec![&b"one"[..], b"two"]));
    let small: ArrayRef = Arc::new(UInt8Array::from(vec![1, 0]));
    let coarse: ArrayRef = Arc::new(UInt8Array::from(vec![3, 3]));
    let columns = vec![
        ("coarse_label", coarse),
        ("fine_label", small),
        ("photo", plain),
    ];
    let stored = open(columns, &[("huggingface", names)]).unwrap();
    assert_eq!(stored.labels, [1, 0]);
    assert_eq!(stored.classes.unwrap(), ["cat", "dog"]);
    let Images::Encoded(images) = stored.images else {
        panic!("not encoded")
    };
    assert_eq!(images, [b"one", b"two"]);
}

/// A column of another name is the one of labels where the metadata call it, and no other, one of classes.
#[test]
fn labels_are_found_by_what_the_metadata_call_them() {
    let names = r#"{"info": {"features": {
        "answer": {"_type": "ClassLabel", "names": ["cat", "dog"]},
        "source": {"_type": "ClassLabel", "names": ["web", "book"]},
        "page": {"_type": "Value", "dtype": "int64"}}}}"#;
    let columns = |second: &'static str| {
        vec![
            ("image", images(vec![Some(b"x"), Some(b"y")])),
            (second, labels(vec![Some(1), Some(1)])),
            ("answer", labels(vec![Some(1), Some(0)])),
        ]
    };
    let stored = open(columns("page"), &[("huggingface", names)]).unwrap();
    assert_eq!(stored.labels, [1, 0]);
    assert_eq!(stored.classes.unwrap(), ["cat", "dog"]);
    let refused = open(columns("source"), &[("huggingface", names)]).err();
    let message = refused.expect("two of classes").to_string();
    assert!(
        message.contains("source (Int64), answer (Int64)"),
        "{message}"
    );
    let stored = open(columns("label"), &[("huggingface", names)]).unwrap();
    assert_eq!(stored.labels, [1, 1]);
}

/// Rows are decoded a few at once: those of 41 in groups of 18 end where neither a group nor the file does.
#[test]
fn rows_are_the_same_in_any_row_groups() {
    let rows: Vec<Vec<u8>> = (0..41_u8)
        .map(|row| vec![row; 1 + usize::from(row)])
        .collect();
    let columns = |gap: Option<usize>| {
        let bytes = rows.iter().enumerate();
        let bytes = bytes.map(|(row, bytes)| (gap != Some(row)).then_some(&bytes[..]));
        vec![
            ("image", images(bytes.collect())),
            ("label", labels((0..41).map(|row| Some(row % 7)).collect())),
        ]
    };
    let path = Path::new("set.parquet");
    for size in [None, Some(18), Some(1)] {
        let bytes = |gap| in_row_groups(columns(gap), &[], size);
        let stored = read_bytes(path, bytes(None), Labels::Read).unwrap();
        let Images::Encoded(found) = stored.images else {
            panic!("not encoded")
        };
        assert_eq!(found, rows, "{size:?}");
        let expected: Vec<i64> = (0..41).map(|row| row % 7).collect();
        assert_eq!(stored.labels, expected, "{size:?}");
        let set = Dataset::from_parquet_bytes("set.parquet", bytes(Some(37)));
        let message = set.expect_err("a null").to_string();
        assert!(message.contains("row 37: expected the bytes"), "{message}");
    }
}

#[test]
fn without_class_names_classes_are_numbers() {
    let columns = vec![
        ("image", images(vec![Some(b"a"), Some(b"b")])),
        ("label", labels(vec![Some(2), Some(0)])),
    ];
    let set = Dataset::from_parquet_bytes("set", parquet(columns, &[])).unwrap();
    assert_eq!(set.classes(), ["0", "1", "2"]);
    assert!(!set.has_class_names());
}

#[test]
fn nulls_are_named_by_row() {
    let refusal = |images_of: Vec<Option<&[u8]>>, labels_of| {
        let columns = vec![("image", images(images_of)), ("label", labels(labels_of))];
        let set = Dataset::from_parquet_bytes("set.parquet", parquet(columns, &[]));
        set.expect_err("must be refused").to_string()
    };
    assert_eq!(
        refusal(vec![Some(b"a"), None, Some(b"")], vec![Some(0); 3]),
        "set.parquet: row 1: expected the bytes of an image, found none; write the file with its images embedded, or remove the row; \
         1 more: ascribe inspect set.parquet --check lists all"
    );
    assert_eq!(
        refusal(vec![Some(b"a"), Some(b"b")], vec![Some(0), None]),
        "set.parquet: row 1: expected a label from 0 to 99999, found null; correct or remove it (-1 marks images without a label); \
         ascribe inspect set.parquet --check looks at every image"
    );
}

/// What is wrong with images and with labels is told apart from each other, row by row.
#[test]
fn all_nulls_and_wrong_labels_are_faults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    let listed = |columns: Vec<(&str, ArrayRef)>, expected: &[&str]| {
        std::fs::write(&path, parquet(columns, &[])).unwrap();
        let (rows, found) = faults(&path, &|_, _| {}).unwrap();
        assert_eq!((rows, found.len()), (4, expected.len()), "{found:?}");
        for (fault, expected) in found.iter().zip(expected) {
            assert!(fault.to_string().contains(expected), "{fault}");
        }
    };
    let image = || ("image", images(vec![Some(b"x"), None, Some(b"y"), None]));
    let wrong = [
        "row 0: expected an image (",
        "row 1: expected the bytes of an image, found none",
        "row 2: expected an image (",
        "row 3: expected the bytes of an image, found none",
    ];
    let with = |more: &[&'static str]| [&wrong[..], more].concat();
    let label = labels(vec![Some(-1), Some(0), None, Some(1 << 40)]);
    let each = [
        "row 0: expected a label from 0 to 99999, found -1",
        "row 2: expected a label from 0 to 99999, found null",
        "row 3: expected a label from 0 to 99999, found 1099511627776",
    ];
    listed(vec![image(), ("label", label)], &with(&each));
    let column = ["columns: expected a column of integer labels"];
    listed(vec![image()], &with(&column));
    let label = labels(vec![None, Some(-1), None, None]);
    let none = ["labels: expected a label from 0 to 99999, found none"];
    listed(vec![image(), ("label", label)], &with(&none));
}

#[test]
fn of_columns_of_usual_names_the_first_that_holds_images_is_taken() {
    let names: ArrayRef = Arc::new(StringArray::from(vec!["x.png"]));
    let thumbnail: ArrayRef = Arc::new(BinaryArray::from(vec![&b"small"[..]]));
    let columns = vec![
        ("img", names),
        ("thumbnail", thumbnail),
        ("image", images(vec![Some(b"large")])),
        ("label", labels(vec![Some(0)])),
    ];
    let Images::Encoded(found) = open(columns, &[]).unwrap().images else {
        panic!("not encoded")
    };
    assert_eq!(found, [b"large"]);
}

#[test]
fn missing_columns_are_told_with_what_there_is() {
    let message = refusal(vec![
        ("image", images(vec![Some(b"a")])),
        ("answer", labels(vec![Some(0)])),
    ]);
    assert!(
        message.contains("integer labels named label, labels"),
        "{message}"
    );
    assert!(message.contains("answer (Int64)"), "{message}");
    let message = refusal(vec![
        ("text", Arc::new(StringArray::from(vec!["a"]))),
        ("label", labels(vec![Some(0)])),
    ]);
    assert!(
        message.contains("image bytes named img, image") && message.contains("text (Utf8)"),
        "{message}"
    );
}
