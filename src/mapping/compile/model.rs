//! The types of a map as the check of its expressions asks for them.

use crate::fhirpath::{DataType, TypeModel};

use super::super::types::{Type, Types};

impl TypeModel for Types {
    /// Records are read by their JSON names, so a choice element has one for each type.
    fn member(&self, owner: u32, name: &str) -> Option<Vec<DataType>> {
        self.spelled(Type::Model(owner), name).map(|(spelling, ..)| vec![spelling.ty.into()])
    }

    fn name(&self, of: u32) -> String {
        Types::name(self, Type::Model(of)).to_owned()
    }

    fn members(&self, of: u32) -> Vec<String> {
        let fields = self.names(Type::Model(of)).into_iter().filter_map(|name| self.field(Type::Model(of), &name));
        fields.flat_map(|field| field.spellings).map(|spelling| spelling.name.text().to_owned()).collect()
    }
}

impl From<Type> for DataType {
    fn from(ty: Type) -> DataType {
        match ty {
            Type::Any => DataType::Any,
            Type::Fhir(type_def) => DataType::Fhir(type_def),
            Type::Model(number) => DataType::Model(number),
        }
    }
}
