//! Pickles read as plain data (protocols 0 to 5, Python's `pickletools`).
//!
//! A pickle is a program for a stack machine, and Python's own reader calls whatever function it names. Here nothing can
//! be called: a global is its name, and applying it to arguments (`REDUCE`, `NEWOBJ` …) only notes both. What a call
//! means is decided by the reader of the values, who knows a handful of names ([`super::torch_values`]); all others stay
//! opaque. The one exception is `collections.OrderedDict`, which becomes the dictionary that it is.
//!
//! Values lie in one table and refer to each other by their place in it, so that shared and cyclic values cost nothing
//! and a deeply nested one cannot exhaust the stack. Every byte read adds at most one value.

use std::collections::HashMap;

/// A value's place in [`Pickle::values`].
pub(super) type Id = usize;

/// Longest pickle that is read, in bytes: tens of times that of the largest network here.
const LONGEST: usize = 64 << 20;
/// Longest part of a global's name; a short pickle can repeat it often.
const LONGEST_NAME: usize = 255;

/// What a pickle can hold.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// `module.name` of a function or class.
    Global(String),
    /// A function or class and what it would have been applied to.
    Call(Id, Id),
    /// A reference to something outside the pickle, as PyTorch's storages are.
    Persistent(Id),
    /// None, floating-point numbers, bytes, sets: nothing that a weight file needs.
    Opaque,
}

/// Where and how a pickle is broken.
#[derive(Debug)]
pub(super) struct Damage {
    /// Bytes before the broken instruction.
    pub(super) position: usize,
    pub(super) found: String,
}

/// A pickle that was read to its end.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    pub(super) root: Id,
    /// Its length in bytes; another one may follow.
    pub(super) length: usize,
}

impl Pickle {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let bytes = &bytes[..bytes.len().min(LONGEST)];
        let mut machine = Machine {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copies: bytes.len(),
        };
        loop {
            let position = machine.at;
            let done = machine.step();
            match done.map_err(|found| Damage { position, found })? {
                Some(root) => {
                    return Ok(Self {
                        values: machine.values,
                        root,
                        length: machine.at,
                    });
                }
                None => continue,
            }
        }
    }

    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id]
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn integer(&self, id: Id) -> Option<i64> {
        match self.value(id) {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn value_count(&self) -> usize {
        self.values.len()
    }

    /// The elements of a tuple or list.
    pub(super) fn elements(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(elements) | Value::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// The function's name and the arguments of a call.
    pub(super) fn call(&self, id: Id) -> Option<(&str, &[Id])> {
        match self.value(id) {
            &Value::Call(function, arguments) => match self.value(function) {
                Value::Global(name) => Some((name, self.elements(arguments)?)),
                _ => None,
            },
            _ => None,
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Entries that may still be copied: a short pickle must not unfold into a large one.
    copies: usize,
}

type Step<T> = Result<T, String>;

impl Machine<'_> {
    fn take(&mut self, count: usize) -> Step<&[u8]> {
        let left = self.bytes.len() - self.at;
        if count > left {
            return Err(format!("{count} bytes announced, {left} left"));
        }
        self.at += count;
        Ok(&self.bytes[self.at - count..self.at])
    }

    /// A little-endian number of `count` bytes, at most 8.
    fn number(&mut self, count: usize) -> Step<u64> {
        let bytes = self.take(count)?.iter().rev();
        Ok(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// As many bytes as the number of `count` bytes before them says.
    fn counted(&mut self, count: usize) -> Step<&[u8]> {
        let length = self.number(count)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn counted_text(&mut self, count: usize) -> Step<String> {
        Ok(String::from_utf8_lossy(self.counted(count)?).into_owned())
    }

    fn line(&mut self) -> Step<String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or("a line without an end")?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn add(&mut self, value: Value) -> Id {
        self.values.push(value);
        self.values.len() - 1
    }

    fn push(&mut self, value: Value) {
        let id = self.add(value);
        self.stack.push(id);
    }

    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "an empty stack".into())
    }

    fn top(&mut self) -> Step<Id> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(id)
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn recall(&mut self, key: u64) -> Step<()> {
        let id = self.memo.get(&key).ok_or(format!("no value {key} noted"))?;
        self.stack.push(*id);
        Ok(())
    }

    fn note(&mut self, key: u64) -> Step<()> {
        let id = self.top()?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn append(&mut self, new: Vec<Id>) -> Step<()> {
        let target = self.top()?;
        // What is appended to an object of an unknown class is of no use either.
        if let Value::List(elements) = &mut self.values[target] {
            elements.extend(new);
        }
        Ok(())
    }

    fn set(&mut self, new: Vec<Id>) -> Step<()> {
        if new.len() % 2 == 1 {
            return Err("a key without a value".into());
        }
        let target = self.top()?;
        if let Value::Dict(entries) = &mut self.values[target] {
            entries.extend(new.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    /// Notes that `function` would be applied; an ordered dictionary becomes one.
    fn call(&mut self, function: Id, arguments: Id) -> Step<()> {
        let value = match &self.values[function] {
            Value::Global(name) if name == "collections.OrderedDict" => {
                let entries = self.pairs(arguments);
                let left = self.copies.checked_sub(entries.len());
                self.copies = left.ok_or("a dictionary copied again and again")?;
                Value::Dict(entries)
            }
            _ => Value::Call(function, arguments),
        };
        self.push(value);
        Ok(())
    }

    /// The entries in the arguments of `OrderedDict([[key, value], …])`, as old versions of Python write it.
    fn pairs(&self, arguments: Id) -> Vec<(Id, Id)> {
        let elements = |id: Id| match &self.values[id] {
            Value::Tuple(elements) | Value::List(elements) => elements.as_slice(),
            _ => &[],
        };
        let pairs = elements(arguments)
            .first()
            .map_or(&[][..], |&first| elements(first));
        let pair = |&id: &Id| match elements(id) {
            &[key, value] => Some((key, value)),
            _ => None,
        };
        pairs.iter().filter_map(pair).collect()
    }

    /// One instruction; the root where it was the last.
    fn step(&mut self) -> Step<Option<Id>> {
        let code = self.take(1)?[0];
        match code {
            b'.' => return self.pop().map(Some),
            // PROTO, FRAME: nothing to do.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let id = self.top()?;
                self.stack.push(id);
            }
            _ if self.atom(code)? => {}
            _ if self.container(code)? => {}
            _ if self.memory(code)? => {}
            _ if self.object(code)? => {}
            _ => return Err(format!("the unknown instruction {code:#04x}")),
        }
        Ok(None)
    }

    /// Numbers and strings.
    fn atom(&mut self, code: u8) -> Step<bool> {
        let value = match code {
            b'N' => Value::Opaque,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Integer(self.number(4)? as i32 as i64),
            b'K' => Value::Integer(self.number(1)? as i64),
            b'M' => Value::Integer(self.number(2)? as i64),
            0x8a => long(self.counted(1)?),
            0x8b => long(self.counted(4)?),
            b'I' | b'L' => match self.line()?.trim_end_matches('L') {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                digits => digits.parse().map_or(Value::Opaque, Value::Integer),
            },
            b'F' => self.line().map(|_| Value::Opaque)?,
            b'G' => self.take(8).map(|_| Value::Opaque)?,
            b'U' => Value::Text(self.counted_text(1)?),
            b'X' | b'T' => Value::Text(self.counted_text(4)?),
            0x8c => Value::Text(self.counted_text(1)?),
            0x8d => Value::Text(self.counted_text(8)?),
            b'V' => Value::Text(self.line()?),
            b'S' => Value::Text(self.line()?.trim_matches(['\'', '"']).to_owned()),
            b'C' => self.counted(1).map(|_| Value::Opaque)?,
            b'B' => self.counted(4).map(|_| Value::Opaque)?,
            0x8e | 0x96 => self.counted(8).map(|_| Value::Opaque)?,
            0x97 => Value::Opaque,
            _ => return Ok(false),
        };
        self.push(value);
        Ok(true)
    }

    /// Tuples, lists, dictionaries, sets.
    fn container(&mut self, code: u8) -> Step<bool> {
        match code {
            b')' => self.push(Value::Tuple(Vec::new())),
            b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            0x8f => self.push(Value::Opaque),
            0x85..=0x87 => {
                let mut elements = Vec::new();
                for _ in 0..code - 0x84 {
                    elements.push(self.pop()?);
                }
                elements.reverse();
                self.push(Value::Tuple(elements));
            }
            b't' => {
                let elements = self.pop_to_mark()?;
                self.push(Value::Tuple(elements));
            }
            b'l' => {
                let elements = self.pop_to_mark()?;
                self.push(Value::List(elements));
            }
            b'd' => {
                let elements = self.pop_to_mark()?;
                self.push(Value::Dict(Vec::new()));
                self.set(elements)?;
            }
            0x91 => {
                self.pop_to_mark()?;
                self.push(Value::Opaque);
            }
            b'a' => {
                let element = self.pop()?;
                self.append(vec![element])?;
            }
            b'e' | 0x90 => {
                let elements = self.pop_to_mark()?;
                self.append(elements)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![key, value])?;
            }
            b'u' => {
                let elements = self.pop_to_mark()?;
                self.set(elements)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Values noted and recalled.
    fn memory(&mut self, code: u8) -> Step<bool> {
        match code {
            b'q' => self.number(1).and_then(|key| self.note(key))?,
            b'r' => self.number(4).and_then(|key| self.note(key))?,
            0x94 => self.note(self.memo.len() as u64)?,
            b'h' => self.number(1).and_then(|key| self.recall(key))?,
            b'j' => self.number(4).and_then(|key| self.recall(key))?,
            b'p' | b'g' => {
                let line = self.line()?;
                let key = line.parse().map_err(|_| format!("the key {line:?}"))?;
                match code {
                    b'p' => self.note(key)?,
                    _ => self.recall(key)?,
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Everything that Python's reader would look up or call.
    fn object(&mut self, code: u8) -> Step<bool> {
        match code {
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.push(Value::Global(name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let name = match (&self.values[module], &self.values[name]) {
                    (Value::Text(module), Value::Text(name))
                        if module.len().max(name.len()) <= LONGEST_NAME =>
                    {
                        format!("{module}.{name}")
                    }
                    _ => return Err("a global without a name, or with one too long".into()),
                };
                self.push(Value::Global(name));
            }
            // Extension registry.
            0x82..=0x84 => {
                self.take(1 << (code - 0x82))?;
                self.push(Value::Opaque);
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)?;
            }
            0x92 => {
                let (_, arguments, function) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(function, arguments)?;
            }
            b'i' | b'o' => {
                let mut arguments = self.pop_to_mark()?;
                let function = match code {
                    b'i' => {
                        let name = format!("{}.{}", self.line()?, self.line()?);
                        self.add(Value::Global(name))
                    }
                    _ if arguments.is_empty() => return Err("no class".into()),
                    _ => arguments.remove(0),
                };
                let arguments = self.add(Value::Tuple(arguments));
                self.push(Value::Call(function, arguments));
            }
            // BUILD: the state of an object, of which none is needed.
            b'b' => drop(self.pop()?),
            b'P' => {
                let text = self.line()?;
                let name = self.add(Value::Text(text));
                self.push(Value::Persistent(name));
            }
            b'Q' => {
                let name = self.pop()?;
                self.push(Value::Persistent(name));
            }
            0x98 => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A two's-complement number; opaque where it needs more than 64 bits.
fn long(bytes: &[u8]) -> Value {
    let fill = match bytes.last() {
        Some(last) if last & 0x80 != 0 => 0xff,
        _ => 0,
    };
    if bytes.len() > 8 && bytes[8..].iter().any(|&byte| byte != fill) {
        return Value::Opaque;
    }
    let mut full = [fill; 8];
    for (to, from) in full.iter_mut().zip(bytes) {
        *to = *from;
    }
    Value::Integer(i64::from_le_bytes(full))
}
