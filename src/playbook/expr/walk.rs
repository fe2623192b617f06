//! A compiled condition, read: what data it asks for, and mistakes that need no data to be seen.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

use super::{ExprError, MAX_LOOPS};
use crate::playbook::diagnostic::{nearest, quote};

/// Functions a condition may call, besides `has`, `all`, `exists`, `exists_one`, `map` and `filter`.
pub const FUNCTIONS: &[&str] =
    &["size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "dyn", "type"];

/// Macros; they are gone from the tree unless called in a shape they do not have.
const MACROS: &[&str] = &["has", "all", "exists", "exists_one", "map", "filter"];

/// Names of types, for `type(x) == string`.
const TYPES: &[&str] = &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// Calls whose answer is never true or false.
const NEVER_BOOLEAN: &[&str] =
    &["_+_", "_-_", "_*_", "_/_", "_%_", "-_", "size", "int", "uint", "double", "string", "type"];

/// A piece of data a condition reads: `collect.read_user.synced` has root `collect` and path `read_user`, `synced`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub root: String,
    /// As far as it is spelled out; ends where an index is computed.
    pub path: Vec<String>,
    /// Bytes into the source, of the root.
    pub offset: usize,
}

/// Collects the references; refuses unknown functions, loops too deep and answers that are no answers.
pub fn check(program: &cel::Program, source: &str) -> Result<Vec<Reference>, ExprError> {
    let mut walk = Walk { program, source, bound: Vec::new(), loops: 0, references: Vec::new() };
    walk.expression(program.expression())?;
    if let Some(kind) = never_boolean(&program.expression().expr) {
        return Err(ExprError { message: format!("this gives {kind}, not true or false"), offset: 0 });
    }
    walk.references.sort_by_key(|reference| reference.offset);
    Ok(walk.references)
}

/// What an expression gives, when that is certainly not a boolean.
fn never_boolean(expr: &Expr) -> Option<&'static str> {
    use cel::common::ast::LiteralValue;
    match expr {
        Expr::Literal(LiteralValue::Boolean(_)) => None,
        Expr::Literal(_) => Some("a fixed value"),
        Expr::List(_) => Some("a list"),
        Expr::Map(_) | Expr::Struct(_) => Some("a mapping"),
        Expr::Call(call) if NEVER_BOOLEAN.contains(&call.func_name.as_str()) => Some("a value"),
        _ => None,
    }
}

struct Walk<'p> {
    program: &'p cel::Program,
    source: &'p str,
    /// Names bound by the loops around, innermost last.
    bound: Vec<String>,
    loops: usize,
    references: Vec<Reference>,
}

impl Walk<'_> {
    fn expression(&mut self, node: &IdedExpr) -> Result<(), ExprError> {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(_) | Expr::Select(_) => self.chain(node),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.expression(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(_) => Err(self.refuse(node, "objects with a type name do not exist here".into())),
            Expr::Call(call) if call.func_name == "_[_]" => self.chain(node),
            Expr::Call(call) => {
                self.function(node, &call.func_name)?;
                if let Some(target) = &call.target {
                    self.expression(target)?;
                }
                call.args.iter().try_for_each(|argument| self.expression(argument))
            }
            Expr::Comprehension(comprehension) => {
                self.expression(&comprehension.iter_range)?;
                self.expression(&comprehension.accu_init)?;
                self.loops += 1;
                if self.loops > MAX_LOOPS {
                    return Err(self.refuse(node, format!("loops stand more than {MAX_LOOPS} deep")));
                }
                let outside = self.bound.len();
                self.bound.push(comprehension.iter_var.clone());
                self.bound.extend(comprehension.iter_var2.clone());
                self.bound.push(comprehension.accu_var.clone());
                self.expression(&comprehension.loop_cond)?;
                self.expression(&comprehension.loop_step)?;
                self.expression(&comprehension.result)?;
                self.bound.truncate(outside);
                self.loops -= 1;
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr) -> Result<(), ExprError> {
        match entry {
            EntryExpr::StructField(field) => self.expression(&field.value),
            EntryExpr::MapEntry(pair) => {
                self.expression(&pair.key)?;
                self.expression(&pair.value)
            }
        }
    }

    /// `a.b["c"].d`, read from its end to its root.
    fn chain(&mut self, node: &IdedExpr) -> Result<(), ExprError> {
        let mut path = Vec::new();
        let mut here = node;
        loop {
            match &here.expr {
                Expr::Select(select) => {
                    path.push(select.field.clone());
                    here = &select.operand;
                }
                Expr::Call(call) if call.func_name == "_[_]" && call.args.len() == 2 => {
                    match text_of(&call.args[1]) {
                        Some(key) => path.push(key),
                        // A computed index: what is behind it is not known, what it is computed from is read.
                        None => {
                            path.clear();
                            self.expression(&call.args[1])?;
                        }
                    }
                    here = &call.args[0];
                }
                Expr::Ident(name) => {
                    path.reverse();
                    self.reference(here, name, path);
                    return Ok(());
                }
                _ => return self.expression(here),
            }
        }
    }

    fn reference(&mut self, node: &IdedExpr, name: &str, path: Vec<String>) {
        let internal = name.starts_with('@') || self.bound.iter().any(|bound| bound == name);
        if internal || TYPES.contains(&name) {
            return;
        }
        let offset = self.offset(node, name);
        self.references.push(Reference { root: name.to_owned(), path, offset });
    }

    fn function(&self, node: &IdedExpr, name: &str) -> Result<(), ExprError> {
        let operator = name.starts_with(['_', '@', '!', '-']);
        if operator || FUNCTIONS.contains(&name) {
            return Ok(());
        }
        if MACROS.contains(&name) {
            let shape = if name == "has" { "has(a.b)".into() } else { format!("list.{name}(item, condition)") };
            return Err(self.refuse(node, format!("{name} is written {shape}")));
        }
        let guess = nearest(name, FUNCTIONS.iter().chain(MACROS).copied());
        let hint = guess.map(|guess| format!(": did you mean {guess}?")).unwrap_or_default();
        Err(self.refuse(node, format!("unknown function {}{hint}", quote(name))))
    }

    fn refuse(&self, node: &IdedExpr, message: String) -> ExprError {
        ExprError { message, offset: self.offset(node, "") }
    }

    /// Byte offset of a node; where the compiler's own offset does not show `name`, its first appearance as a word.
    fn offset(&self, node: &IdedExpr, name: &str) -> usize {
        let chars = self.program.source_info().offset_for(node.id).map_or(0, |(start, _)| start as usize);
        let told = self.source.char_indices().nth(chars).map_or(self.source.len(), |(at, _)| at);
        if self.source[told..].starts_with(name) {
            return told;
        }
        self.source.find(name).unwrap_or(told.min(self.source.len()))
    }
}

fn text_of(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Expr::Literal(cel::common::ast::LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    }
}
