//! Which resource types a map can make.

use std::collections::BTreeSet;

use super::CompiledMap;
use super::plan::{Block, Plan, TargetPlan, Transform};
use super::types::Type;

impl CompiledMap {
    /// The resource types that the map makes; `None` if it copies resources of its source, whose types only a record tells.
    pub fn resource_types(&self) -> Option<BTreeSet<&'static str>> {
        let mut walk = Walk { plan: &self.plan, seen: BTreeSet::new(), made: BTreeSet::new(), copies: false };
        walk.made.extend(Some(self.plan.root).filter(|root| root.is_resource()).and_then(Type::fhir_name));
        walk.group(0);
        self.plan.by_types.iter().for_each(|(_, _, group)| walk.group(*group));
        let from_model = matches!(self.plan.source, Type::Model(_));
        (from_model || !walk.copies).then_some(walk.made)
    }
}

/// A walk over the groups that a run may reach.
struct Walk<'p> {
    plan: &'p Plan,
    seen: BTreeSet<usize>,
    made: BTreeSet<&'static str>,
    /// Whether a resource is copied.
    copies: bool,
}

impl Walk<'_> {
    fn group(&mut self, number: usize) {
        let plan = self.plan;
        let Some(group) = plan.groups.get(number).filter(|_| self.seen.insert(number)) else { return };
        group.extends.iter().for_each(|call| self.group(call.group));
        self.block(&group.block);
    }

    fn block(&mut self, block: &Block) {
        for rule in &block.rules {
            rule.targets.iter().for_each(|target| self.target(target));
            rule.calls.iter().for_each(|call| self.group(call.group));
            self.block(&rule.block);
        }
    }

    fn target(&mut self, target: &TargetPlan) {
        match &target.transform {
            Transform::Create(ty) => {
                self.made.extend(Some(*ty).filter(|ty| ty.is_resource()).and_then(Type::fhir_name));
            }
            Transform::Implicit(_, Some(group)) => self.group(*group),
            Transform::Copy(_) | Transform::Implicit(_, None) => {
                let mut spellings = target.element.iter().flat_map(|element| &element.spellings);
                self.copies |= spellings.any(|spelling| spelling.ty.is_resource());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MapFile;
    use super::*;

    #[test]
    fn the_resources_of_a_map_are_those_it_creates() {
        let types = |rule: &str| {
            let text = format!(
                "map 'http://x/m' = 'm'\nuses \"http://hl7.org/fhir/StructureDefinition/Bundle\" alias B as source\n\
                 uses \"http://hl7.org/fhir/StructureDefinition/Bundle\" alias B as target\n\
                 group main(source s : B, target t : B) {{\n  {rule}\n}}\n"
            );
            let other = "map 'http://x/o' = 'o'\nuses 'http://hl7.org/fhir/StructureDefinition/Bundle' alias B as target\n\
                 group other(source s, target t : B) {\n  s -> t.entry as e, e.resource = create('Group') \"o\";\n}\n";
            let file = |name: &str, text: &str| MapFile { name: name.to_owned(), text: text.to_owned() };
            let map = CompiledMap::compile(&[file("m.map", &text), file("o.map", other)], &[]);
            map.map(|map| map.resource_types().map(Vec::from_iter)).map_err(|faults| faults[0].to_string())
        };
        assert_eq!(
            types("s.entry -> t.entry as e then { s -> e.resource = create('Flag') as f \"flag\"; } \"entry\";"),
            Ok(Some(vec!["Bundle", "Flag"]))
        );
        assert_eq!(
            types("s.entry as from -> t.entry as e then { from.resource as r -> e.resource = r \"r\"; } \"entry\";"),
            Ok(None)
        );
    }
}
