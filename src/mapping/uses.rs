//! Which variables the parts of a plan name.

use super::plan::{
    Block, Call, ExpressionPlan, Operand, RulePlan, Slot, SourcePlan, TargetListMode, TargetPlan, Transform,
};

/// What is called with each variable that a part names.
type Visit<'v> = &'v mut dyn FnMut(Slot);

impl Block {
    /// Shows every variable that its rules name, at any depth.
    pub(super) fn uses(&self, visit: Visit<'_>) {
        self.shared.iter().for_each(|slot| visit(*slot));
        self.rules.iter().for_each(|rule| rule.uses(visit));
    }
}

impl RulePlan {
    fn uses(&self, visit: Visit<'_>) {
        self.sources.iter().for_each(|source| source.uses(visit));
        self.targets.iter().for_each(|target| target.uses(visit));
        self.calls.iter().for_each(|call| call.uses(visit));
        self.block.uses(visit);
    }
}

impl Call {
    /// Shows every variable that is handed on.
    pub(super) fn uses(&self, visit: Visit<'_>) {
        self.arguments.iter().for_each(|argument| argument.uses(visit));
    }
}

impl SourcePlan {
    fn uses(&self, visit: Visit<'_>) {
        visit(self.context);
        self.default.iter().for_each(|operand| operand.uses(visit));
        let expressions = [&self.condition, &self.check, &self.log];
        expressions.into_iter().flatten().for_each(|expression| expression.uses(visit));
    }
}

impl TargetPlan {
    /// Shows every variable that it sets an element of, or takes a value from.
    pub(super) fn uses(&self, visit: Visit<'_>) {
        self.context.iter().for_each(|slot| visit(*slot));
        if let TargetListMode::Share(slot) = self.list_mode {
            visit(slot);
        }
        match &self.transform {
            Transform::Element | Transform::Create(_) | Transform::Uuid(_) => {}
            Transform::Copy(operand)
            | Transform::Implicit(operand, _)
            | Transform::Truncate(operand, _)
            | Transform::Escape(operand, ..)
            | Transform::DateOp(operand, _)
            | Transform::Cast(operand, _)
            | Transform::Translate(operand, ..)
            | Transform::Reference(operand)
            | Transform::Pointer(operand) => operand.uses(visit),
            Transform::Append(operands) => operands.iter().for_each(|operand| operand.uses(visit)),
            Transform::Build(template) => template.operands().into_iter().for_each(|operand| operand.uses(visit)),
        }
    }
}

impl Operand {
    fn uses(&self, visit: Visit<'_>) {
        match self {
            Operand::Slot(slot) | Operand::Path(slot, _) => visit(*slot),
            Operand::Constant(..) => {}
            Operand::Expression(expression, focus) => {
                focus.iter().for_each(|slot| visit(*slot));
                expression.uses(visit);
            }
        }
    }
}

impl ExpressionPlan {
    fn uses(&self, visit: Visit<'_>) {
        self.variables.iter().for_each(|(_, slot)| visit(*slot));
    }
}
