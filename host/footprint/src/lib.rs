//! What one instance of a component takes of the host, before it has run.
//!
//! Owns that sum, read from the component's bytes, and the bounds on its parts that no operator sets. A component may
//! make one of its modules into instances many times, so a small file can ask for much: the sum is over instances.
//! Deliberately compiles nothing and knows no Store.

use std::fmt;

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, Encoding, Instance, Parser,
    Payload,
};

/// Core instances of one component. One in Python has 14, or 38 with `--stub-wasi`; each library that it brings adds some.
pub const INSTANCES: usize = 256;
/// Tables of all core instances together. One in JavaScript or Python has 2 or 3.
pub const TABLES: usize = 64;
/// Linear memories of all core instances together. Each reserves some GiB of address space, however small it is. One
/// in Python has 1, one in JavaScript 2, or 3 with `--stub-wasi`.
pub const MEMORIES: usize = 16;

/// Bytes that the host keeps for an instance, whatever its module has.
const INSTANCE_BYTES: u64 = 1024;
/// Bytes that the host keeps at most for each function, import, global and so on of an instance.
const ITEM_BYTES: u64 = 48;
/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 64 << 10;
/// Bytes of an element of a table.
const ELEMENT_BYTES: u64 = size_of::<usize>() as u64;

/// What one instance of a component takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    instances: u64,
    tables: u64,
    memories: u64,
    /// Bytes that the host keeps for its instances.
    host: u64,
    /// Bytes that its memories and tables have at first.
    initial: u64,
}

impl Footprint {
    /// Bytes of a footprint [as bytes](Footprint::to_bytes).
    pub const BYTES: usize = 40;

    fn plus(&mut self, other: Footprint) {
        let Footprint { instances, tables, memories, host, initial } = self;
        let parts = [
            (instances, other.instances),
            (tables, other.tables),
            (memories, other.memories),
            (host, other.host),
            (initial, other.initial),
        ];
        for (sum, more) in parts {
            *sum = sum.saturating_add(more);
        }
    }

    /// Bytes that the host keeps for each instance of the component.
    pub fn host(&self) -> usize {
        usize::try_from(self.host).unwrap_or(usize::MAX)
    }

    /// Bytes without which the component does not start.
    pub fn least(&self) -> u64 {
        self.host.saturating_add(self.initial)
    }

    /// Adds up a component.
    ///
    /// # Errors
    /// That it is none, or which bound it exceeds.
    pub fn of(component: &[u8]) -> Result<Self, String> {
        let sum = Sum::of(component).map_err(|e| e.to_string())?;
        for (found, what, most) in [
            (sum.instances, "core instances", INSTANCES),
            (sum.tables, "tables", TABLES),
            (sum.memories, "memories", MEMORIES),
        ] {
            if found > most as u64 {
                return Err(format!("it has {found} {what}, more than the {most} that a plugin may have"));
            }
        }
        Ok(sum)
    }

    /// For keeping it in front of something else.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let Footprint { instances, tables, memories, host, initial } = self;
        let mut bytes = [0; Self::BYTES];
        for (place, number) in bytes.chunks_exact_mut(8).zip([instances, tables, memories, host, initial]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// The footprint in front of `bytes`, and what follows.
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (own, rest) = bytes.split_at_checked(Self::BYTES)?;
        let number = |n: usize| Some(u64::from_le_bytes(own[8 * n..][..8].try_into().ok()?));
        let footprint = Footprint {
            instances: number(0)?,
            tables: number(1)?,
            memories: number(2)?,
            host: number(3)?,
            initial: number(4)?,
        };
        Some((footprint, rest))
    }
}

/// Why a component cannot be added up.
enum Unclear {
    Unreadable(wasmparser::BinaryReaderError),
    /// A module or component comes from where only running it would show.
    Passed,
    /// It refers to what is not there, or ends too early.
    Broken,
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unclear::Unreadable(error) => write!(f, "not a WebAssembly component: {error}"),
            Unclear::Passed => f.write_str("a part of it is given modules or components, which no plugin needs"),
            Unclear::Broken => f.write_str("not a WebAssembly component: it refers to what is not there"),
        }
    }
}

impl From<wasmparser::BinaryReaderError> for Unclear {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Unclear::Unreadable(error)
    }
}

/// One module or component that is being read: what an instance of it takes until now, and the modules and components
/// that it can name. None is what only running it would show.
#[derive(Default)]
struct Sum {
    module: bool,
    taken: Footprint,
    modules: Vec<Option<Footprint>>,
    components: Vec<Option<Footprint>>,
}

impl Sum {
    fn of(component: &[u8]) -> Result<Footprint, Unclear> {
        // The innermost part that is being read is the last.
        let mut open: Vec<Sum> = Vec::new();
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload?;
            if let Payload::Version { encoding, .. } = payload {
                let module = encoding == Encoding::Module;
                let taken = Footprint { instances: 1, host: INSTANCE_BYTES, ..Footprint::default() };
                open.push(Sum { module, taken: if module { taken } else { Footprint::default() }, ..Sum::default() });
                continue;
            }
            if let Payload::End(_) = payload {
                let Sum { module, taken, .. } = open.pop().ok_or(Unclear::Broken)?;
                let Some(outer) = open.last_mut() else { return Ok(taken) };
                if module {
                    outer.modules.push(Some(taken))
                } else {
                    outer.components.push(Some(taken))
                }
                continue;
            }
            match open.last().ok_or(Unclear::Broken)?.module {
                true => open.last_mut().ok_or(Unclear::Broken)?.item(payload)?,
                false => part(&mut open, payload)?,
            }
        }
        Err(Unclear::Broken)
    }

    /// A section of a module.
    fn item(&mut self, payload: Payload<'_>) -> Result<(), Unclear> {
        let taken = &mut self.taken;
        let items = match payload {
            Payload::TypeSection(all) => all.count(),
            Payload::ImportSection(all) => {
                let mut count = 0_u32;
                for group in all {
                    count = count.saturating_add(group?.into_iter().count().try_into().unwrap_or(u32::MAX));
                }
                count
            }
            Payload::FunctionSection(all) => all.count(),
            Payload::GlobalSection(all) => all.count(),
            Payload::TagSection(all) => all.count(),
            Payload::ElementSection(all) => all.count(),
            Payload::DataSection(all) => all.count(),
            Payload::TableSection(all) => {
                taken.tables += u64::from(all.count());
                let count = all.count();
                for table in all {
                    let bytes = table?.ty.initial.saturating_mul(ELEMENT_BYTES);
                    taken.initial = taken.initial.saturating_add(bytes);
                }
                count
            }
            Payload::MemorySection(all) => {
                taken.memories += u64::from(all.count());
                let count = all.count();
                for memory in all {
                    taken.initial = taken.initial.saturating_add(memory?.initial.saturating_mul(PAGE_BYTES));
                }
                count
            }
            _ => 0,
        };
        taken.host = taken.host.saturating_add(u64::from(items) * ITEM_BYTES);
        Ok(())
    }
}

/// A section of the innermost component of `open`.
fn part(open: &mut [Sum], payload: Payload<'_>) -> Result<(), Unclear> {
    let (inner, outer) = open.split_last_mut().ok_or(Unclear::Broken)?;
    let find = |all: &[Option<Footprint>], index: u32| all.get(index as usize).copied().ok_or(Unclear::Broken);
    match payload {
        Payload::InstanceSection(all) => {
            for instance in all {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    inner.taken.plus(find(&inner.modules, module_index)?.ok_or(Unclear::Passed)?);
                }
            }
        }
        Payload::ComponentInstanceSection(all) => {
            for instance in all {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    inner.taken.plus(find(&inner.components, component_index)?.ok_or(Unclear::Passed)?);
                }
            }
        }
        Payload::ComponentAliasSection(all) => {
            for alias in all {
                match alias? {
                    ComponentAlias::Outer { kind, count, index } => {
                        let from = match count.checked_sub(1) {
                            None => &*inner,
                            Some(n) => outer.iter().rev().nth(n as usize).ok_or(Unclear::Broken)?,
                        };
                        match kind {
                            ComponentOuterAliasKind::CoreModule => {
                                let found = find(&from.modules, index)?;
                                inner.modules.push(found);
                            }
                            ComponentOuterAliasKind::Component => {
                                let found = find(&from.components, index)?;
                                inner.components.push(found);
                            }
                            ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
                        }
                    }
                    ComponentAlias::InstanceExport { kind, .. } => inner.passed(kind),
                    ComponentAlias::CoreInstanceExport { .. } => {}
                }
            }
        }
        Payload::ComponentImportSection(all) => {
            for import in all {
                inner.passed(import?.ty.kind());
            }
        }
        // An export is one more name for what it exports.
        Payload::ComponentExportSection(all) => {
            for export in all {
                let export = export?;
                match export.kind {
                    ComponentExternalKind::Module => inner.modules.push(find(&inner.modules, export.index)?),
                    ComponentExternalKind::Component => inner.components.push(find(&inner.components, export.index)?),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    Ok(())
}

impl Sum {
    /// Counts what comes from elsewhere.
    fn passed(&mut self, kind: ComponentExternalKind) {
        match kind {
            ComponentExternalKind::Module => self.modules.push(None),
            ComponentExternalKind::Component => self.components.push(None),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{
        Alias, Component, ComponentAliasSection, ComponentImportSection, ComponentInstanceSection,
        ComponentOuterAliasKind, ComponentTypeRef, ConstExpr, CoreTypeSection, GlobalSection, GlobalType,
        InstanceSection, MemorySection, MemoryType, Module, ModuleSection, ModuleType, NestedComponentSection, ValType,
    };

    use super::*;

    /// A module with so many globals and so many memories of a page.
    fn module(globals: usize, memories: usize) -> Module {
        let (mut module, mut memory, mut global) = (Module::new(), MemorySection::new(), GlobalSection::new());
        for _ in 0..memories {
            memory.memory(MemoryType {
                minimum: 1,
                maximum: None,
                memory64: false,
                shared: false,
                page_size_log2: None,
            });
        }
        let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        for _ in 0..globals {
            global.global(ty, &ConstExpr::i32_const(0));
        }
        module.section(&memory).section(&global);
        module
    }

    fn instantiate(component: &mut Component, module: u32, times: usize) {
        let mut instances = InstanceSection::new();
        for _ in 0..times {
            instances.instantiate::<[(&str, wasm_encoder::ModuleArg); 0], &str>(module, []);
        }
        component.section(&instances);
    }

    /// One module, and so many instances of it.
    fn many(module: Module, times: usize) -> Component {
        let mut component = Component::new();
        component.section(&ModuleSection(&module));
        instantiate(&mut component, 0, times);
        component
    }

    fn twice(inner: &Component) -> Component {
        let mut component = Component::new();
        component.section(&NestedComponentSection(inner));
        let mut instances = ComponentInstanceSection::new();
        for _ in 0..2 {
            instances.instantiate::<[(&str, wasm_encoder::ComponentExportKind, u32); 0], &str>(0, []);
        }
        component.section(&instances);
        component
    }

    fn of(component: Component) -> Result<Footprint, String> {
        let bytes = component.finish();
        // It is one that the engine takes.
        wasmtime::component::Component::new(&wasmtime::Engine::default(), &bytes).unwrap();
        Footprint::of(&bytes)
    }

    #[test]
    fn every_instance_counts_and_not_every_module() {
        let one = of(many(module(100, 1), 1)).unwrap();
        assert_eq!((one.instances, one.memories, one.initial), (1, 1, PAGE_BYTES));
        assert!(one.host >= 100 * 16, "the engine keeps 16 bytes for a global");
        let five = of(many(module(100, 1), 5)).unwrap();
        assert_eq!((five.instances, five.memories, five.initial), (5, 5, 5 * PAGE_BYTES));
        assert_eq!((five.host(), five.least()), (5 * one.host(), 5 * one.least()));
        assert_eq!(of(many(module(100, 1), 0)).unwrap(), Footprint::default());
    }

    #[test]
    fn what_exceeds_a_bound_is_named_with_the_bound() {
        let refused = of(many(module(0, 0), INSTANCES + 1)).unwrap_err();
        assert_eq!(refused, "it has 257 core instances, more than the 256 that a plugin may have");
        assert!(of(many(module(0, 0), INSTANCES)).is_ok());
        let refused = of(many(module(0, 1), MEMORIES + 1)).unwrap_err();
        assert!(refused.starts_with("it has 17 memories, more than the 16"), "{refused}");
    }

    #[test]
    fn parts_of_parts_multiply() {
        let mut component = many(module(0, 0), 1);
        for _ in 0..8 {
            component = twice(&component);
        }
        let doubled = component.clone().finish();
        assert_eq!(Footprint::of(&doubled).unwrap().instances, 256);
        for _ in 0..60 {
            component = twice(&component);
        }
        // The engine would be at it for years.
        let refused = Footprint::of(&component.finish()).unwrap_err();
        assert!(refused.contains("core instances, more than the 256"), "{refused}");
    }

    #[test]
    fn a_module_that_a_part_names_from_outside_counts() {
        let mut inner = Component::new();
        let mut alias = ComponentAliasSection::new();
        alias.alias(Alias::Outer { kind: ComponentOuterAliasKind::CoreModule, count: 1, index: 0 });
        inner.section(&alias);
        instantiate(&mut inner, 0, 3);
        let mut outer = Component::new();
        outer.section(&ModuleSection(&module(7, 0))).section(&NestedComponentSection(&inner));
        let mut instances = ComponentInstanceSection::new();
        instances.instantiate::<[(&str, wasm_encoder::ComponentExportKind, u32); 0], &str>(0, []);
        outer.section(&instances);
        let found = of(outer).unwrap();
        assert_eq!(found.host, of(many(module(7, 0), 3)).unwrap().host);
        assert_eq!(found.instances, 3);
    }

    #[test]
    fn a_module_from_where_only_running_would_show_is_refused() {
        let mut component = Component::new();
        let mut types = CoreTypeSection::new();
        types.ty().module(&ModuleType::new());
        let mut imports = ComponentImportSection::new();
        imports.import("m", ComponentTypeRef::Module(0));
        component.section(&types).section(&imports);
        instantiate(&mut component, 0, 1);
        let refused = of(component).unwrap_err();
        assert!(refused.contains("is given modules"), "{refused}");
    }

    #[test]
    fn it_is_kept_in_front_of_the_code() {
        let footprint = of(many(module(3, 2), 2)).unwrap();
        let kept = [&footprint.to_bytes()[..], b"code"].concat();
        assert_eq!(Footprint::split(&kept), Some((footprint, &b"code"[..])));
        assert_eq!(Footprint::split(&kept[..Footprint::BYTES - 1]), None);
    }
}
