//! An embedder's values of a session, keyed by type.

use crate::runtime::panic::discard;
use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The values of one session, at most one of each type. They live as long as the session. Any
/// `'static` type is allowed, including `!Send` types.
#[derive(Default)]
pub struct Values {
    own: RefCell<BTreeMap<TypeId, Box<dyn Any>>>,
    shared: RefCell<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Values {
    /// Stores `value` and returns the previous value of its type.
    pub fn insert<T: 'static>(&self, value: T) -> Option<T> {
        let before = self
            .own
            .borrow_mut()
            .insert(TypeId::of::<T>(), Box::new(value));
        Some(*before?.downcast().expect("stored under its type"))
    }

    /// Returns a clone of the value of this type; `None` if there is none.
    #[must_use]
    pub fn get<T: Clone + 'static>(&self) -> Option<T> {
        self.with(|value: &mut T| value.clone())
    }

    /// Calls `look` with the value of this type; returns `None` if there is none.
    ///
    /// # Panics
    ///
    /// If `look` uses the values of the same session.
    pub fn with<T: 'static, R>(&self, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut own = self.own.borrow_mut();
        let value = own.get_mut(&TypeId::of::<T>())?;
        Some(look(value.downcast_mut().expect("stored under its type")))
    }

    /// Removes and returns the value of this type; `None` if there is none.
    pub fn remove<T: 'static>(&self) -> Option<T> {
        let value = self.own.borrow_mut().remove(&TypeId::of::<T>())?;
        Some(*value.downcast().expect("stored under its type"))
    }

    /// Shares `value` with all shards ([`RouteHandle::shared`]), in place of the previous shared
    /// value of its type. Shared values are separate from the values of [`Values::insert`].
    ///
    /// [`RouteHandle::shared`]: super::RouteHandle::shared
    pub fn share<T: Send + Sync + 'static>(&self, value: T) {
        let before = self
            .shared
            .borrow_mut()
            .insert(TypeId::of::<T>(), Arc::new(value));
        drop(before);
    }

    /// Returns the shared value of this type; `None` if there is none.
    #[must_use]
    pub fn shared<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let value = self.shared.borrow().get(&TypeId::of::<T>()).cloned()?;
        Some(value.downcast().expect("stored under its type"))
    }

    /// Returns whether there are no values.
    pub(crate) fn is_empty(&self) -> bool {
        self.own.borrow().is_empty() && self.shared.borrow().is_empty()
    }

    pub(crate) fn shared_by_type(&self, of_type: TypeId) -> Option<Arc<dyn Any + Send + Sync>> {
        self.shared.borrow().get(&of_type).cloned()
    }

    /// Removes the shared value of this type.
    pub fn unshare<T: Send + Sync + 'static>(&self) {
        let before = self.shared.borrow_mut().remove(&TypeId::of::<T>());
        drop(before);
    }
}

impl Drop for Values {
    /// Drops each value separately and catches panics of an embedder's destructors: a second panic
    /// while the first one unwinds would abort the process.
    fn drop(&mut self) {
        for (_, value) in self.own.take() {
            discard(value);
        }
        for (_, value) in self.shared.take() {
            discard(value);
        }
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (own, shared) = (self.own.borrow().len(), self.shared.borrow().len());
        write!(f, "Values({own} kept, {shared} shared)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn there_is_one_value_of_each_type() {
        let values = Values::default();
        assert_eq!(values.get::<u32>(), None);
        assert_eq!(values.insert(5_u32), None);
        assert_eq!(values.insert(6_u32), Some(5));
        assert_eq!(values.insert(Rc::new("not Send")), None);
        assert_eq!(
            values.with(|number: &mut u32| std::mem::take(number)),
            Some(6)
        );
        assert_eq!(values.remove::<u32>(), Some(0));
        assert_eq!(values.get::<Rc<&str>>().as_deref(), Some(&"not Send"));
    }

    #[test]
    fn what_is_shared_is_apart_from_what_is_kept() {
        let values = Values::default();
        values.share(5_u32);
        assert_eq!(values.get::<u32>(), None);
        assert_eq!(values.shared::<u32>().as_deref(), Some(&5));
        values.unshare::<u32>();
        assert_eq!(values.shared::<u32>(), None);
    }
}
