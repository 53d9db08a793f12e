//! How often in a row the looks at each object failed between us and the API server.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kube::{Resource, runtime::reflector::ObjectRef};

/// The numbers, by object. Lost with the process, which costs a few looks.
#[derive(Debug)]
pub struct Failures<K: Resource<DynamicType = ()>>(Mutex<HashMap<ObjectRef<K>, u32>>);

impl<K: Resource<DynamicType = ()>> Default for Failures<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource<DynamicType = ()>> Failures<K> {
    /// Counts one more, and gives the number.
    pub fn count(&self, object: &K) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.entry(ObjectRef::from_obj(object)).or_default();
        *failures = failures.saturating_add(1);
        *failures
    }

    /// Begins again, after a look that went well, or with an object that is gone.
    pub fn forget(&self, object: &ObjectRef<K>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}
