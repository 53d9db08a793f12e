//! How many reconciles of each object have failed in a row, by an error between us and the API server.

use std::{collections::HashMap, sync::Mutex};

use kube::{Resource, runtime::reflector::ObjectRef};

use crate::sync::locked;

/// The numbers, by object. Lost with the process, which costs a few reconciles.
#[derive(Debug)]
pub struct Failures<K: Resource<DynamicType = ()>>(Mutex<HashMap<ObjectRef<K>, u32>>);

impl<K: Resource<DynamicType = ()>> Default for Failures<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource<DynamicType = ()>> Failures<K> {
    /// Counts one more, and returns the number.
    pub fn count(&self, object: &K) -> u32 {
        let mut all = locked(&self.0);
        let failures = all.entry(ObjectRef::from_obj(object)).or_default();
        *failures = failures.saturating_add(1);
        *failures
    }

    /// Resets the number, after a successful reconcile or when the object is gone.
    pub fn forget(&self, object: &ObjectRef<K>) {
        locked(&self.0).remove(object);
    }
}
