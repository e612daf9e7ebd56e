//! Groups that call each other without end: found when the map is loaded, not when a record comes.
//!
//! A group may call itself for what stands inside its source, which ends with the record. What cannot end is a chain of
//! calls in which each rule has the whole of its context as its source and no condition.

use fml_syntax::AstNode;

use super::super::plan::{Block, GroupPlan};
use super::Compiler;

impl Compiler<'_> {
    /// Reports the groups whose unconditional calls lead back to them.
    pub(super) fn check_calls_end(&mut self) {
        let calls: Vec<Vec<usize>> = self.plans.iter().map(unconditional_calls).collect();
        let endless: Vec<usize> = (0..calls.len()).filter(|&group| leads_back(&calls, group)).collect();
        let mut groups: Vec<usize> =
            self.instances.iter().filter(|(_, plan)| endless.contains(plan)).map(|((group, _), _)| *group).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let (file, tree) = (self.groups[group].file, self.groups[group].tree.clone());
            let message = format!("the group {} calls itself without end", self.groups[group].name);
            let hint = "call it for an element of its source, or give the rule a where";
            self.error(file, tree.syntax(), message, hint);
        }
    }
}

fn unconditional_calls(group: &GroupPlan) -> Vec<usize> {
    let mut calls = Vec::new();
    add_calls(&group.block, &mut calls);
    calls
}

fn add_calls(block: &Block, calls: &mut Vec<usize>) {
    for rule in &block.rules {
        if rule.sources.iter().all(|source| source.always_gives_its_context()) {
            calls.extend(rule.calls.iter().map(|call| call.group));
            add_calls(&rule.block, calls);
        }
    }
}

fn leads_back(calls: &[Vec<usize>], start: usize) -> bool {
    let (mut seen, mut open) = (vec![false; calls.len()], calls[start].clone());
    while let Some(group) = open.pop() {
        if group == start {
            return true;
        }
        if !std::mem::replace(&mut seen[group], true) {
            open.extend(&calls[group]);
        }
    }
    false
}
