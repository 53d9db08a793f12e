//! YAML values with their lines, so that errors can be located.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

/// A value and its line.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The line in the file, from 1.
    pub(super) line: u64,
    pub(super) shape: Shape,
}

/// The kind of a value.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// A string, number, boolean or null.
    Plain(Value),
    List(Vec<Node>),
    /// Each name with its line.
    Map(Vec<(String, u64, Node)>),
}

impl Node {
    /// A field of an object.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        match &self.shape {
            Shape::Map(fields) => fields.iter().find(|(field, ..)| field == name).map(|(.., node)| node),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Plain(value) => value.as_str(),
            _ => None,
        }
    }

    /// The same without lines.
    pub(super) fn value(&self) -> Value {
        match &self.shape {
            Shape::Plain(value) => value.clone(),
            Shape::List(nodes) => nodes.iter().map(Self::value).collect(),
            Shape::Map(fields) => {
                // A template with an unset value leaves the field empty, which the API server treats as missing.
                let given =
                    fields.iter().filter(|(_, _, node)| !matches!(node.shape, Shape::Plain(Value::Null)));
                let fields = given.map(|(name, _, node)| (name.clone(), node.value()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::deserialize(from)?;
        Ok(Self { line: referenced.line(), shape: value })
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(Shape::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
        Ok(Shape::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
        Ok(Shape::Plain(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Plain(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Plain(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Shape, D::Error> {
        Shape::deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Shape, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = from.next_element()? {
            nodes.push(node);
        }
        Ok(Shape::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Shape, A::Error> {
        let mut fields = Vec::new();
        while let Some(Spanned { value, referenced, .. }) = from.next_key::<Spanned<String>>()? {
            fields.push((value, referenced.line(), from.next_value()?));
        }
        Ok(Shape::Map(fields))
    }
}
