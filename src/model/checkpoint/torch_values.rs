//! What PyTorch puts into a pickle: storages, tensors laid over them, and dictionaries of tensors.
//!
//! | in the pickle | meaning |
//! |---|---|
//! | persistent `("storage", torch.FloatStorage, key, location, count, …)` | `count` numbers stored under `key` |
//! | `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)` | a tensor over it, in numbers |
//! | `torch._utils._rebuild_parameter(tensor, …)` | that tensor |
//!
//! These names are all that is understood; every other call in the file is left alone.

use super::pickle::{Id, Pickle, Value};
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, HashSet};

/// The type of the numbers in a storage of that class; `None` where tensors of it cannot be weights.
fn dtype_of(class: &str) -> Option<DType> {
    Some(match class.strip_prefix("torch.")? {
        "DoubleStorage" => DType::F64,
        "FloatStorage" => DType::F32,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ShortStorage" => DType::I16,
        "ByteStorage" | "BoolStorage" => DType::U8,
        _ => return None,
    })
}

/// The bytes of a number in a storage of that class; `None` where the class is not known.
fn bytes_of(class: &str) -> Option<usize> {
    Some(match class.strip_prefix("torch.")? {
        "CharStorage" | "QInt8Storage" | "QUInt8Storage" | "storage.UntypedStorage" => 1,
        "QInt32Storage" => 4,
        "ComplexFloatStorage" => 8,
        "ComplexDoubleStorage" => 16,
        _ => dtype_of(class)?.size_in_bytes(),
    })
}

/// Numbers in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) key: String,
    /// The name of its class, which says what numbers they are.
    pub(super) class: Id,
    pub(super) count: usize,
}

/// A tensor over a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Laid {
    pub(super) storage: Storage,
    dtype: DType,
    offset: usize,
    pub(super) shape: Vec<usize>,
    stride: Vec<usize>,
}

/// Tensors by name, and where in the file they stand.
#[derive(Debug)]
pub(super) struct StateDict {
    /// The keys that lead there, joined by dots; empty for the file's own dictionary.
    pub(super) place: String,
    pub(super) tensors: BTreeMap<String, Laid>,
}

impl StateDict {
    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shape = |(name, laid): (&String, &Laid)| (name.clone(), laid.shape.clone());
        self.tensors.iter().map(shape).collect()
    }
}

/// How deep dictionaries are searched for tensors.
const DEPTH: usize = 4;
/// The most elements of a tensor that repeats the numbers of its storage.
const EXPANDED: usize = 1 << 14;
/// Most dimensions of a tensor.
const RANK: usize = 8;
/// Longest name of a tensor or storage, in bytes.
const LONGEST_KEY: usize = 255;
/// Keys that hold the weights rather than a copy of them, best first.
const USUAL_KEYS: [&str; 5] = [
    "state_dict",
    "model",
    "net",
    "model_state_dict",
    "model_state",
];

/// Smaller for a more usual key; of others one that says so holds an average.
fn rank_of(key: &str) -> usize {
    let usual = USUAL_KEYS.iter().position(|&usual| usual == key);
    usual.unwrap_or(USUAL_KEYS.len() + usize::from(key.to_lowercase().contains("ema")))
}

impl Pickle {
    /// What the dictionary of the weights may be: of those with the most tensors, all under the most usual key.
    pub(super) fn state_dicts(&self) -> Vec<StateDict> {
        let mut search = Search {
            pickle: self,
            seen: HashSet::new(),
            found: Vec::new(),
        };
        search.visit(self.root, &mut Vec::new());
        let mut found = search.found;
        let most = found.iter().map(|it| it.tensors.len()).max();
        // A half: an average of the weights may lack the counters, an optimiser's state is many small dictionaries.
        found.retain(|it| Some(2 * it.tensors.len()) >= most);
        // The last key decides, then the one around it: an average of the weights is often nested as they are.
        let rank = |it: &StateDict| it.place.rsplit('.').map(rank_of).collect::<Vec<_>>();
        let best = found.iter().map(rank).min();
        found.retain(|it| Some(rank(it)) == best);
        // The same numbers under two keys are no choice.
        found.dedup_by(|one, other| one.tensors == other.tensors);
        found
    }

    fn tensor(&self, id: Id) -> Option<Laid> {
        let (name, arguments) = self.call(id)?;
        match (name, arguments) {
            (
                "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor",
                &[storage, offset, size, stride, ref rest @ ..],
            ) => {
                // Behind the gradient's flag and hooks: views that negate or conjugate, whose numbers are not those stored.
                let altered = (rest.get(2)).is_some_and(
                    |&notes| matches!(self.value(notes), Value::Dict(notes) if !notes.is_empty()),
                );
                (!altered)
                    .then(|| self.laid(storage, offset, size, stride))
                    .flatten()
            }
            (
                "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state",
                &[data, ..],
            ) => {
                // Not a parameter of a parameter: no file nests them, and a hostile one cannot go deep.
                let (name, _) = self.call(data)?;
                let nested = name.contains("_rebuild_parameter");
                if nested { None } else { self.tensor(data) }
            }
            _ => None,
        }
    }

    fn laid(&self, storage: Id, offset: Id, size: Id, stride: Id) -> Option<Laid> {
        let sizes = |id: Id| -> Option<Vec<usize>> {
            // Few: a short file can refer to one long list many times.
            let numbers = self.elements(id).filter(|all| all.len() <= RANK)?;
            (numbers.iter())
                .map(|&id| self.integer(id)?.try_into().ok())
                .collect()
        };
        let storage = self.storage(storage)?;
        Some(Laid {
            dtype: dtype_of(self.class(&storage))?,
            storage,
            offset: self.integer(offset)?.try_into().ok()?,
            shape: sizes(size)?,
            stride: sizes(stride)?,
        })
    }

    fn storage(&self, id: Id) -> Option<Storage> {
        let &Value::Persistent(id) = self.value(id) else {
            return None;
        };
        match self.elements(id)? {
            &[tag, class, key, _, count, ref view @ ..] if self.text(tag) == Some("storage") => {
                // A view of another storage, which only very old versions wrote: not followed.
                if view.iter().any(|&view| self.elements(view).is_some()) {
                    return None;
                }
                if !matches!(self.value(class), Value::Global(_)) {
                    return None;
                }
                Some(Storage {
                    class,
                    key: self
                        .text(key)
                        .filter(|key| key.len() <= LONGEST_KEY)?
                        .to_owned(),
                    count: self.integer(count)?.try_into().ok()?,
                })
            }
            _ => None,
        }
    }

    /// The name of a storage's class.
    pub(super) fn class(&self, storage: &Storage) -> &str {
        match self.value(storage.class) {
            Value::Global(class) => class,
            _ => "",
        }
    }

    /// How many bytes a storage takes; `None` where its class is not known.
    pub(super) fn byte_count(&self, storage: &Storage) -> Option<usize> {
        let each = bytes_of(self.class(storage))?;
        Some(storage.count.saturating_mul(each))
    }

    /// All storages that the pickle refers to, by key.
    pub(super) fn storages(&self) -> BTreeMap<String, Storage> {
        let all = (0..self.value_count()).filter_map(|id| self.storage(id));
        all.map(|storage| (storage.key.clone(), storage)).collect()
    }
}

/// The walk through dictionaries in dictionaries, each once.
struct Search<'a> {
    pickle: &'a Pickle,
    seen: HashSet<Id>,
    found: Vec<StateDict>,
}

impl<'a> Search<'a> {
    fn visit(&mut self, id: Id, keys: &mut Vec<&'a str>) {
        let Value::Dict(entries) = self.pickle.value(id) else {
            return;
        };
        if keys.len() > DEPTH || !self.seen.insert(id) {
            return;
        }
        let mut tensors = BTreeMap::new();
        for &(key, value) in entries {
            let key = self.pickle.text(key);
            let Some(key) = key.filter(|key| key.len() <= LONGEST_KEY) else {
                continue;
            };
            if let Some(tensor) = self.pickle.tensor(value) {
                tensors.insert(key.to_owned(), tensor);
            } else {
                keys.push(key);
                self.visit(value, keys);
                keys.pop();
            }
        }
        if !tensors.is_empty() {
            let place = keys.join(".");
            self.found.push(StateDict { place, tensors });
        }
    }
}

impl Laid {
    /// The tensor, from the bytes of its storage: f64 stays, other floating-point numbers become f32, integers i64.
    pub(super) fn read(&self, bytes: &[u8], device: &Device) -> Result<Tensor, String> {
        let (dtype, count) = (self.dtype, self.storage.count);
        let size = dtype.size_in_bytes();
        let announced = count.saturating_mul(size);
        // First: the numbers that are there bound the memory of all that follows.
        let bytes = (bytes.get(..announced)).ok_or_else(|| {
            format!(
                "{} bytes for {count} numbers of type {dtype:?}",
                bytes.len()
            )
        })?;
        // Only the tensor's own: the storage may be many times as large.
        let mut gathered = Vec::new();
        let own = match self.places()? {
            Places::InOrder { from, count } => &bytes[from * size..][..count * size],
            Places::Each(places) => {
                for place in places {
                    gathered.extend_from_slice(&bytes[place * size..][..size]);
                }
                gathered.as_slice()
            }
        };
        let wide = match dtype {
            DType::F64 => DType::F64,
            DType::F32 | DType::F16 | DType::BF16 => DType::F32,
            _ => DType::I64,
        };
        let tensor = Tensor::from_raw_buffer(own, dtype, &self.shape, device);
        let tensor = tensor.and_then(|tensor| tensor.to_dtype(wide));
        tensor.map_err(|error| error.to_string())
    }

    /// Where the elements stand in the storage, in row-major order.
    fn places(&self) -> Result<Places, String> {
        let Self { shape, stride, .. } = self;
        let count = self.storage.count;
        let outside = || format!("shape {shape:?}, stride {stride:?} over {count} numbers");
        let elements = (shape.iter()).try_fold(1_usize, |product, &size| product.checked_mul(size));
        // Many more elements than numbers would be a short file that claims a large tensor.
        let elements = elements
            .filter(|&elements| elements <= count.max(EXPANDED))
            .ok_or_else(outside)?;
        if shape.len() != stride.len() {
            return Err(outside());
        }
        if elements == 0 {
            return Ok(Places::InOrder { from: 0, count: 0 });
        }
        let last = (shape.iter().zip(stride)).try_fold(self.offset, |last, (&size, &stride)| {
            last.checked_add((size - 1).checked_mul(stride)?)
        });
        if last.is_none_or(|last| last >= count) {
            return Err(outside());
        }
        let mut expected = 1;
        let in_order = shape.iter().zip(stride).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected *= size;
            fits
        });
        if in_order {
            return Ok(Places::InOrder {
                from: self.offset,
                count: elements,
            });
        }
        let mut places = vec![self.offset];
        for (&size, &stride) in shape.iter().zip(stride) {
            places = (places.iter())
                .flat_map(|&place| (0..size).map(move |index| place + index * stride))
                .collect();
        }
        Ok(Places::Each(places))
    }
}

enum Places {
    InOrder { from: usize, count: usize },
    Each(Vec<usize>),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor over a storage that is announced to be of `count` numbers.
    fn laid(count: usize, shape: &[usize], stride: &[usize]) -> Laid {
        Laid {
            storage: Storage {
                key: "0".into(),
                class: 0,
                count,
            },
            dtype: DType::F32,
            offset: 0,
            shape: shape.to_vec(),
            stride: stride.to_vec(),
        }
    }

    /// Places are listed only for numbers that are there, however many the file announces: the first tensor is not refused for its
    /// shape, which comes later, and of the second 2⁵⁰ places would be listed.
    #[test]
    fn a_storage_shorter_than_announced_is_refused_before_anything_is_listed() {
        let read = |tensor: Laid| tensor.read(&[0; 16], &Device::Cpu);
        for (count, shape) in [(1 << 20, 1 << 21), (1 << 50, 1 << 50)] {
            let found = read(laid(count, &[shape], &[0])).unwrap_err();
            assert_eq!(found, format!("16 bytes for {count} numbers of type F32"));
        }
        let outside = read(laid(4, &[1 << 21], &[0])).unwrap_err();
        assert!(outside.contains("over 4 numbers"), "{outside}");
        let repeated = read(laid(4, &[3, 2], &[0, 2])).unwrap();
        assert_eq!(repeated.dims(), [3, 2]);
        let empty = read(laid(0, &[0, 2], &[2, 1])).unwrap();
        assert_eq!(empty.dims(), [0, 2]);
    }

    /// Many small tensors may lie in one large storage.
    #[test]
    fn a_tensor_has_its_own_numbers_and_no_memory_for_others() {
        let bytes: Vec<u8> = (0..100_u8)
            .flat_map(|number| f32::from(number).to_le_bytes())
            .collect();
        for (offset, stride, expected) in [
            (7, [3, 1], [7.0, 8.0, 9.0, 10.0, 11.0, 12.0]),
            (94, [3, 1], [94.0, 95.0, 96.0, 97.0, 98.0, 99.0]),
            (7, [1, 2], [7.0, 9.0, 11.0, 8.0, 10.0, 12.0]),
            (50, [0, 20], [50.0, 70.0, 90.0, 50.0, 70.0, 90.0]),
        ] {
            let tensor = Laid {
                offset,
                ..laid(100, &[2, 3], &stride)
            };
            let tensor = tensor.read(&bytes, &Device::Cpu).unwrap();
            assert_eq!(tensor.dims(), [2, 3]);
            let (storage, layout) = tensor.storage_and_layout();
            assert!(layout.is_contiguous());
            let candle_core::Storage::Cpu(numbers) = &*storage else {
                panic!("not in memory");
            };
            assert_eq!(numbers.as_slice::<f32>().unwrap(), expected);
        }
    }
}
