//! What an embedder keeps with a session: values by their type, for as long as it lives.

use crate::runtime::panic::discard;
use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Values of one session, at most one of each type. Any type that lives on its own will do, also
/// one that may not leave its thread.
#[derive(Default)]
pub struct Values {
    own: RefCell<BTreeMap<TypeId, Box<dyn Any>>>,
    shared: RefCell<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Values {
    /// Keeps `value`, and gives back the one of its type that was kept before.
    pub fn insert<T: 'static>(&self, value: T) -> Option<T> {
        let before = self
            .own
            .borrow_mut()
            .insert(TypeId::of::<T>(), Box::new(value));
        Some(*before?.downcast().expect("filed under its type"))
    }

    /// A copy of the value of this type.
    #[must_use]
    pub fn get<T: Clone + 'static>(&self) -> Option<T> {
        self.with(|value: &mut T| value.clone())
    }

    /// Lends the value of this type to `look`; `None` if there is none.
    ///
    /// # Panics
    ///
    /// If `look` comes back to the values of the same session.
    pub fn with<T: 'static, R>(&self, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut own = self.own.borrow_mut();
        let value = own.get_mut(&TypeId::of::<T>())?;
        Some(look(value.downcast_mut().expect("filed under its type")))
    }

    /// Takes the value of this type out.
    pub fn remove<T: 'static>(&self) -> Option<T> {
        let value = self.own.borrow_mut().remove(&TypeId::of::<T>())?;
        Some(*value.downcast().expect("filed under its type"))
    }

    /// Keeps `value` where every shard can see it ([`RouteHandle::shared`]), in place of the one of
    /// its type that was shared before.
    ///
    /// [`RouteHandle::shared`]: super::RouteHandle::shared
    pub fn share<T: Send + Sync + 'static>(&self, value: T) {
        let before = self
            .shared
            .borrow_mut()
            .insert(TypeId::of::<T>(), Arc::new(value));
        drop(before);
    }

    /// The value of this type that is shared.
    #[must_use]
    pub fn shared<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let value = self.shared.borrow().get(&TypeId::of::<T>()).cloned()?;
        Some(value.downcast().expect("filed under its type"))
    }

    pub(crate) fn shared_by_type(&self, of_type: TypeId) -> Option<Arc<dyn Any + Send + Sync>> {
        self.shared.borrow().get(&of_type).cloned()
    }

    /// Shares the value of this type no more.
    pub fn unshare<T: Send + Sync + 'static>(&self) {
        let before = self.shared.borrow_mut().remove(&TypeId::of::<T>());
        drop(before);
    }
}

impl Drop for Values {
    /// Destructors of an embedder's may panic; that has been reported then, and hurts nobody. Each
    /// goes by itself: a second panic while the first one unwinds would end the process.
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
