//! Archives in memory.

use super::*;
use std::io::Write;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Two numbers over the storage `key` of that class.
fn tensor(class: &str, key: &[u8; 1]) -> Vec<u8> {
    let parts: [&[u8]; 5] = [
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n",
        class.as_bytes(),
        b"\nX\x01\0\0\0",
        key,
        b"X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89}tR",
    ];
    parts.concat()
}

/// A file of the old format: first a mask of two numbers of that class in so many bytes, then the weights 1.5 and -2.
fn with_mask(class: &str, bytes: usize) -> Vec<u8> {
    let count = 2_i64.to_le_bytes();
    let weights = [1.5_f32, -2.0].map(f32::to_le_bytes);
    let parts: [&[u8]; 13] = [
        b"\x80\x02",
        &MAGIC,
        b"\x80\x02K\x01.\x80\x02}.\x80\x02}(X\x04\0\0\0mask",
        &tensor(class, b"0"),
        b"X\x06\0\0\0weight",
        &tensor("FloatStorage", b"1"),
        b"u.",
        b"\x80\x02](X\x01\0\0\x000X\x01\0\0\x001e.",
        &count,
        &vec![7_u8; bytes],
        &count,
        &weights[0],
        &weights[1],
    ];
    parts.concat()
}

fn dictionary(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut dictionary = b"}(".to_vec();
    for (key, value) in entries {
        let length = u32::try_from(key.len()).unwrap().to_le_bytes();
        dictionary.extend([&b"X"[..], &length, key.as_bytes(), value].concat());
    }
    dictionary.push(b'u');
    dictionary
}

/// An archive around `object` with storage 0, of 1.5 and -2.
fn archive(object: &[u8]) -> Vec<u8> {
    let pickle = [&b"\x80\x02"[..], object, b"."].concat();
    let numbers = [1.5_f32, -2.0].map(f32::to_le_bytes).concat();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in [("data.pkl", &pickle), ("data/0", &numbers)] {
        writer.start_file(format!("a/{name}"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_storage_that_tensors_share_is_compared_once_and_read_where_it_lies() {
    let path = Path::new("model.pt");
    let one = || tensor("FloatStorage", b"0");
    let mut file = archive(&dictionary(&[("one", one()), ("two", one())]));
    let mut archive = Archive::open(&file, path).unwrap();
    for name in ["one", "two"] {
        let laid = archive.state.tensors[name].clone();
        let tensor = archive.load(name, &laid, &Device::Cpu).unwrap();
        assert_eq!(tensor.to_vec1::<f32>().unwrap(), [1.5, -2.0], "{name}");
        // The second is there without it.
        archive.zip = None;
    }
    let at = archive.storages["0"].as_ptr() as usize - file.as_ptr() as usize;
    drop(archive);
    file[at] ^= 1;
    let mut altered = Archive::open(&file, path).unwrap();
    let laid = altered.state.tensors["one"].clone();
    let refused = altered.load("one", &laid, &Device::Cpu).unwrap_err();
    let message = refused.to_string();
    assert!(message.contains("storage 0 of 2 numbers"), "{message}");
}

#[test]
fn of_several_models_under_keys_that_are_as_usual_none_is_taken() {
    let network = |tensor: Vec<u8>| dictionary(&[("layer1.0.conv1.weight", tensor)]);
    let weights = |key: &[u8; 1]| network(tensor("FloatStorage", key));
    let place = |entries: &[(&str, Vec<u8>)]| {
        let file = archive(&dictionary(entries));
        let opened = Archive::open(&file, Path::new("model.pt"));
        opened.map(|archive| archive.state.place)
    };
    let nested = |key: &[u8; 1]| dictionary(&[("model", weights(key))]);
    let (student, teacher) = (weights(b"0"), weights(b"1"));
    for (entries, places) in [
        (
            [("student", student), ("teacher", teacher)],
            "student, teacher",
        ),
        (
            [("best", nested(b"0")), ("last", nested(b"1"))],
            "best.model, last.model",
        ),
    ] {
        let message = place(&entries).unwrap_err().to_string();
        let expected = format!("one dictionary of weights, found 2 that differ: {places}; ");
        assert!(message.contains(&expected), "{message}");
    }
    // One of them is more usual, no network, or the same.
    let noted = network([&tensor("FloatStorage", b"0")[..], b"q\x01"].concat());
    let up = dictionary(&[("up.weight", tensor("FloatStorage", b"0"))]);
    let again = network(b"h\x01".to_vec());
    for (entries, expected) in [
        ([("ema", weights(b"0")), ("model", weights(b"1"))], "model"),
        (
            [("net_ema", weights(b"0")), ("network", weights(b"1"))],
            "network",
        ),
        ([("ema", nested(b"0")), ("model", weights(b"1"))], "model"),
        ([("ema", nested(b"0")), ("net", nested(b"1"))], "net.model"),
        ([("decoder", up), ("encoder", weights(b"1"))], "encoder"),
        ([("one", noted), ("two", again)], "one"),
    ] {
        assert_eq!(place(&entries).unwrap(), expected);
    }
}

#[test]
fn numbers_that_are_no_weights_are_stepped_over_in_the_old_format() {
    let path = Path::new("model.pth");
    for (class, bytes) in [
        ("BoolStorage", 2),
        ("CharStorage", 2),
        ("QInt32Storage", 8),
        ("ComplexFloatStorage", 16),
        ("ComplexDoubleStorage", 32),
    ] {
        let file = with_mask(class, bytes);
        let mut archive = Archive::open(&file, path).unwrap();
        let laid = archive.state.tensors["weight"].clone();
        let tensor = archive.load("weight", &laid, &Device::Cpu).unwrap();
        assert_eq!(tensor.to_vec1::<f32>().unwrap(), [1.5, -2.0], "{class}");
    }
    let file = with_mask("OddStorage", 2);
    let message = Archive::open(&file, path).err().unwrap().to_string();
    let found = "found a storage of type torch.OddStorage, which is not read; write the weights";
    assert!(message.contains(found), "{message}");
}
