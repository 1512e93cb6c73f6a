//! Writes the types of the contract for TypeScript.
//!
//! Each interface becomes an ambient module by its full name, as JavaScript engines for components import it. Names are
//! in camel case, an option is `undefined` if it has no value, and an error is thrown.

use std::fmt::Write as _;

use wit_parser::{
    Docs, Function, Resolve, Type, TypeDef, TypeDefKind, TypeId, TypeOwner, WorldId, WorldItem,
};

use crate::contract;

/// Returns the declarations of the contract; empty if the contract does not parse, which a test excludes.
pub(crate) fn declarations() -> String {
    contract::resolve().map_or_else(|_| String::new(), |(resolve, world)| Writer { resolve, world }.write())
}

struct Writer {
    resolve: Resolve,
    world: WorldId,
}

impl Writer {
    fn write(&self) -> String {
        let mut out = String::from("// The types of the contract in wit/policy.wit, written by Wardset.\n");
        let world = &self.resolve.worlds[self.world];
        for (_, item) in &world.imports {
            let WorldItem::Interface { id, .. } = item else { continue };
            let Some(name) = self.resolve.id_of(*id) else { continue };
            let interface = &self.resolve.interfaces[*id];
            let mut body = String::new();
            for ty in interface.types.values() {
                self.declare(&mut body, &self.resolve.types[*ty]);
            }
            for function in interface.functions.values() {
                docs(&mut body, &function.docs, 1);
                let _ = writeln!(
                    body,
                    "  export function {}{};",
                    camel(&function.name, false),
                    self.signature(function)
                );
            }
            module(&mut out, &interface.docs, &name, &body);
        }
        let mut body = String::new();
        for (key, item) in &world.imports {
            if let WorldItem::Type { id, .. } = item
                && let wit_parser::WorldKey::Name(_) = key
            {
                self.declare(&mut body, &self.resolve.types[*id]);
            }
        }
        // The records that an answer consists of, for authors who build it in steps.
        for name in ["Change", "Denial", "Note", "Warning"] {
            let _ = writeln!(body, "  export type {name} = import(\"{}\").{name};", self.types_module());
        }
        body.push_str("  /** The exports of a policy module. */\n  export interface Policy {\n");
        for item in world.exports.values() {
            if let WorldItem::Function(function) = item {
                docs(&mut body, &function.docs, 2);
                let _ = writeln!(body, "    {}{};", camel(&function.name, false), self.signature(function));
            }
        }
        body.push_str("  }\n");
        let name = format!("{}/{}@{}", contract::PACKAGE, contract::WORLD, contract::version());
        module(&mut out, &world.docs, &name, &body);
        out
    }

    fn types_module(&self) -> String {
        format!("{}/types@{}", contract::PACKAGE, contract::version())
    }

    fn declare(&self, out: &mut String, ty: &TypeDef) {
        let Some(name) = &ty.name else { return };
        let name = camel(name, true);
        docs(out, &ty.docs, 1);
        match &ty.kind {
            TypeDefKind::Record(record) => {
                let _ = writeln!(out, "  export interface {name} {{");
                for field in &record.fields {
                    docs(out, &field.docs, 2);
                    let _ = writeln!(out, "    {}: {};", camel(&field.name, false), self.ty(&field.ty));
                }
                out.push_str("  }\n");
            }
            TypeDefKind::Enum(cases) => {
                let _ = writeln!(out, "  export type {name} =");
                for case in &cases.cases {
                    docs(out, &case.docs, 2);
                    let _ = writeln!(out, "    | \"{}\"", case.name);
                }
                out.push_str("    ;\n");
            }
            TypeDefKind::Variant(variant) => {
                let _ = writeln!(out, "  export type {name} =");
                for case in &variant.cases {
                    docs(out, &case.docs, 2);
                    let value =
                        case.ty.as_ref().map_or_else(String::new, |ty| format!("; val: {}", self.ty(ty)));
                    let _ = writeln!(out, "    | {{ tag: \"{}\"{value} }}", case.name);
                }
                out.push_str("    ;\n");
            }
            TypeDefKind::Type(Type::Id(id)) => {
                let _ = writeln!(out, "  export type {name} = {};", self.named(*id));
            }
            _ => {
                let _ = writeln!(out, "  export type {name} = never;");
            }
        }
    }

    fn signature(&self, function: &Function) -> String {
        let params: Vec<String> = function
            .params
            .iter()
            .map(|param| format!("{}: {}", camel(&param.name, false), self.ty(&param.ty)))
            .collect();
        let result = function.result.as_ref().map_or_else(|| "void".to_owned(), |ty| self.ty(ty));
        format!("({}): {result}", params.join(", "))
    }

    fn ty(&self, ty: &Type) -> String {
        match ty {
            Type::Bool => "boolean".to_owned(),
            Type::String | Type::Char => "string".to_owned(),
            Type::U64 | Type::S64 => "bigint".to_owned(),
            Type::Id(id) => match &self.resolve.types[*id].kind {
                TypeDefKind::List(item) => format!("Array<{}>", self.ty(item)),
                TypeDefKind::Option(value) => format!("{} | undefined", self.ty(value)),
                // The error is thrown.
                TypeDefKind::Result(result) => {
                    result.ok.as_ref().map_or_else(|| "void".to_owned(), |ty| self.ty(ty))
                }
                _ => self.named(*id),
            },
            _ => "number".to_owned(),
        }
    }

    /// Returns the name of a type, with the module that declares it.
    fn named(&self, id: TypeId) -> String {
        let mut id = id;
        while let TypeDefKind::Type(Type::Id(inner)) = self.resolve.types[id].kind {
            id = inner;
        }
        let ty = &self.resolve.types[id];
        let name = camel(ty.name.as_deref().unwrap_or("never"), true);
        match ty.owner {
            TypeOwner::Interface(interface) => match self.resolve.id_of(interface) {
                Some(module) => format!("import(\"{module}\").{name}"),
                None => name,
            },
            TypeOwner::World(_) | TypeOwner::None => name,
        }
    }
}

/// Writes an ambient module.
fn module(out: &mut String, text: &Docs, name: &str, body: &str) {
    out.push('\n');
    docs(out, text, 0);
    let _ = writeln!(out, "declare module \"{name}\" {{\n{body}}}");
}

/// Writes a comment, indented by the given number of levels.
fn docs(out: &mut String, docs: &Docs, level: usize) {
    let Some(text) = &docs.contents else { return };
    let indent = "  ".repeat(level);
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    if let [line] = lines.as_slice() {
        let _ = writeln!(out, "{indent}/** {line} */");
        return;
    }
    let _ = writeln!(out, "{indent}/**");
    for line in lines {
        let _ = writeln!(out, "{}", format!("{indent} * {line}").trim_end());
    }
    let _ = writeln!(out, "{indent} */");
}

/// Turns `settings-schema` into `settingsSchema`, or into `SettingsSchema`.
fn camel(name: &str, capital: bool) -> String {
    let mut text = String::new();
    for (index, word) in name.split('-').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if index > 0 || capital => text.push(first.to_ascii_uppercase()),
            Some(first) => text.push(first),
            None => {}
        }
        text.push_str(letters.as_str());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declares_the_world_the_interfaces_and_their_comments() {
        let text = declarations();
        for part in [
            "declare module \"wardset:policy/document@0.1.1\" {",
            "  export function object(pointer: string): string | undefined;",
            "  export function oldObject(pointer: string): string | undefined;",
            "    settingsSchema: string;",
            "    | \"namespace-labels\"",
            "    | { tag: \"remove\"; val: string }",
            "    changes: Array<import(\"wardset:policy/types@0.1.1\").Change>;",
            "declare module \"wardset:policy/policy@0.1.1\" {",
            "    validateSettings(settings: string): void;",
            "  /** The request of the author to the API server. */",
            "    /** Semantic version. */",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("= never"), "{text}");
    }

    #[test]
    fn names_are_in_camel_case() {
        assert_eq!(camel("dry-run", false), "dryRun");
        assert_eq!(camel("denial-code", true), "DenialCode");
    }
}
