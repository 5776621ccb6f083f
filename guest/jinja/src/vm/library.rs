//! The functions of the library, and methods.

use super::*;

impl Vm<'_> {
    #[inline(never)]
    pub(super) fn function(&mut self, name: &str, args: Args) -> Res<Value> {
        Ok(match name {
            "range" => sequences::range(&args, &self.budget)?,
            "raise_exception" => {
                let message = args.need(0, "message")?.to_text(&self.budget)?;
                return Err(err!("{}", message.as_str()));
            }
            "strftime_now" => Value::Str(time::strftime(
                &args.text(0, "format", "%Y-%m-%d")?,
                self.now,
                &self.budget,
            )?),
            "dict" => {
                let dict = Dict::default();
                self.fill(&dict, args)?;
                Value::dict(dict)
            }
            "namespace" => {
                let dict = Dict::default();
                let mut items = Vec::new();
                self.fill(&dict, args)?;
                for (key, value) in dict.items() {
                    let key = key.to_text(&self.budget)?;
                    push(&mut items, (Rc::from(key.as_str()), value))?;
                }
                Value::Object(Object::Namespace(Rc::new(RefCell::new(items))))
            }
            "cycler" => {
                if args.list.is_empty() {
                    return Err(err!("'cycler' needs something to go through"));
                }
                // As for lists: no objects in it.
                Value::list(args.list.clone())?;
                Value::Object(Object::Cycler(Rc::new((args.list, Cell::new(0)))))
            }
            "joiner" => Value::Object(Object::Joiner(Rc::new((
                args.text(0, "sep", ", ")?,
                Cell::new(false),
            )))),
            _ => return Err(broken()),
        })
    }

    /// Keys and values out of the arguments that `dict` takes.
    #[inline(never)]
    pub(super) fn fill(&self, dict: &Dict, args: Args) -> Res<()> {
        if let Some(first) = args.list.first() {
            match first {
                Value::Dict(other) => {
                    for (key, value) in other.items() {
                        dict.set(key, value, &self.budget)?;
                    }
                }
                other => {
                    for pair in access::elements(other, &self.budget)? {
                        let mut pair = access::elements(&pair, &self.budget)?.into_iter();
                        let (Some(key), Some(value), None) =
                            (pair.next(), pair.next(), pair.next())
                        else {
                            return Err(err!("expected pairs of key and value"));
                        };
                        dict.set(key, value, &self.budget)?;
                    }
                }
            }
        }
        for (key, value) in args.named {
            dict.set(Value::text(&key), value, &self.budget)?;
        }
        Ok(())
    }

    #[inline(never)]
    pub(super) fn method(&mut self, name: Name, count: u16, names: Names) -> Res<()> {
        let args = self.args(count, names)?;
        let of = self.pop()?;
        let name = self.name(name);
        let value = match &of {
            Value::Str(text) => methods::of_text(&name, text, &args, &self.budget)?,
            Value::Seq(seq) => methods::of_list(&name, seq, &args, &self.budget)?,
            Value::Dict(dict) => match methods::of_dict(&name, dict, &args, &self.budget)? {
                Some(value) => value,
                None => return self.invoke(access::attribute(&of, &name, &self.budget)?, args),
            },
            Value::Object(Object::Loop(at)) => match &*name {
                "cycle" if args.list.is_empty() => {
                    return Err(err!("'cycle' needs something to go through"));
                }
                "cycle" => {
                    let index = at.next.get().saturating_sub(1) % args.list.len();
                    args.list.get(index).cloned().unwrap_or(Value::None)
                }
                "changed" => {
                    let now = Value::list(args.list)?;
                    let before = at.changed.replace(Some(now.clone()));
                    Value::Bool(!before.is_some_and(|before| before.same(&now, &self.budget)))
                }
                _ => return Err(err!("'loop' has no method '{name}'")),
            },
            Value::Object(Object::Cycler(cycler)) => match &*name {
                "next" => {
                    let value = cycled(cycler);
                    cycler.1.set((cycler.1.get() + 1) % cycler.0.len().max(1));
                    value
                }
                "reset" => {
                    cycler.1.set(0);
                    Value::None
                }
                _ => return Err(err!("a cycler has no method '{name}'")),
            },
            Value::Float(f) if &*name == "is_integer" => Value::Bool(arith::truncate(*f) == *f),
            _ => match access::attribute(&of, &name, &self.budget)? {
                Value::Undefined(_) => {
                    return Err(err!("{} has no method '{name}'", of.kind()));
                }
                callee => return self.invoke(callee, args),
            },
        };
        self.push(value)
    }
}
