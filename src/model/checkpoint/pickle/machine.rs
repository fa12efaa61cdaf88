//! The stack machine that a pickle is a program for: its values, its stack, and what instructions do to them.

mod instructions;

use super::{Id, Value};
use std::collections::HashMap;

/// The state between two instructions.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    /// Bytes before the next instruction.
    pub(super) at: usize,
    pub(super) values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Entries that may still be copied: a short pickle must not unfold into a large one.
    copies: usize,
}

type Step<T> = Result<T, String>;

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copies: bytes.len(),
        }
    }

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
    pub(super) fn step(&mut self) -> Step<Option<Id>> {
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
}
