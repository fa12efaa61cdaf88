//! Pickles read as plain data (protocols 0 to 5, Python's `pickletools`).
//!
//! A pickle is a program for a stack machine, and Python's own reader calls whatever function it names. Here nothing can
//! be called: a global is its name, and applying it to arguments (`REDUCE`, `NEWOBJ` …) only notes both. What a call
//! means is decided by the reader of the values, who knows a handful of names ([`super::torch_values`]); all others stay
//! opaque. The one exception is `collections.OrderedDict`, which becomes the dictionary that it is.
//!
//! Values lie in one table and refer to each other by their place in it, so that shared and cyclic values cost nothing
//! and a deeply nested one cannot exhaust the stack. Every byte read adds at most one value.

mod machine;

use machine::Machine;

/// A value's place in [`Pickle::values`].
pub(super) type Id = usize;

/// Longest pickle that is read, in bytes: tens of times that of the largest network here.
const LONGEST: usize = 64 << 20;

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
        let mut machine = Machine::new(bytes);
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
