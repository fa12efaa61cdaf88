//! What each instruction does, by kind; `false` where the code is none of that kind.

use super::{Machine, Step, Value};

/// Longest part of a global's name; a short pickle can repeat it often.
const LONGEST_NAME: usize = 255;

impl Machine<'_> {
    /// Numbers and strings.
    pub(super) fn atom(&mut self, code: u8) -> Step<bool> {
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
    pub(super) fn container(&mut self, code: u8) -> Step<bool> {
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
    pub(super) fn memory(&mut self, code: u8) -> Step<bool> {
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
    pub(super) fn object(&mut self, code: u8) -> Step<bool> {
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
