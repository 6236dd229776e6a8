//! The domain types of Warren, which cannot hold invalid values: names, specs, manifests, and the
//! imports and exports of components.
//!
//! Protobuf and YAML are parsed into these types at the edge ([`spec`], [`manifest`]); code behind
//! the edge does not check again.

pub mod admission;
pub mod ambient;
pub mod cidr;
pub mod component;
pub mod condition;
pub mod descriptors;
pub mod digest;
pub mod directory_lock;
pub mod egress;
pub mod error;
pub mod feature;
pub mod guard;
pub mod host_port;
mod hostname;
pub mod interfaces;
pub mod label;
pub mod link;
pub mod listen;
pub mod manifest;
pub mod name;
pub mod pace;
pub mod private;
pub mod publish_rule;
pub mod quantity;
pub mod reason;
pub mod route;
pub mod schema;
pub mod spec;
pub mod tree;
