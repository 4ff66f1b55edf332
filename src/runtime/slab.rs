//! A vector of slots whose keys cannot be confused: a key names a slot and its generation.
//!
//! Timers, mailboxes and rooms refer to clients by key. A client that is gone leaves its keys dangling on purpose;
//! the generation makes them harmless.

use std::num::NonZeroU32;

/// Names one value of a [`Slab`], for as long as it lives and never another one. Sixty-four bits, like an `Option` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: NonZeroU32,
}

impl Key {
    /// The key as a number, for the kernel to carry.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    /// The key that became this number.
    #[allow(clippy::cast_possible_truncation, reason = "both halves are cut out on purpose")]
    pub fn from_bits(bits: u64) -> Option<Self> {
        Some(Self { index: bits as u32, generation: NonZeroU32::new((bits >> 32) as u32)? })
    }
}

/// Slots that are allocated together. Growing moves no value, and what is reserved beyond the values is bounded.
const CHUNK_SLOTS: usize = 128;

struct Slot<T> {
    generation: NonZeroU32,
    value: Option<T>,
}

/// Slots are reused; memory follows the highest number of values alive at once.
pub struct Slab<T> {
    chunks: Vec<Box<[Slot<T>]>>,
    /// Slots that have been used.
    used: u32,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), used: 0, free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// For a value that knows its key.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            if self.used as usize == self.chunks.len() * CHUNK_SLOTS {
                let slots = (0..CHUNK_SLOTS).map(|_| Slot { generation: NonZeroU32::MIN, value: None });
                self.chunks.push(slots.collect());
            }
            self.used = self.used.checked_add(1).expect("descriptors run out long before 2^32 clients");
            self.used - 1
        });
        let slot = &mut self.chunks[index as usize / CHUNK_SLOTS][index as usize % CHUNK_SLOTS];
        debug_assert!(slot.value.is_none());
        let key = Key { index, generation: slot.generation };
        slot.value = Some(make(key));
        key
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.chunks.get(key.index as usize / CHUNK_SLOTS)?.get(key.index as usize % CHUNK_SLOTS)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slot(key)?.value.as_mut()
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slot(key)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.free.push(key.index);
        Some(value)
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot<T>> {
        let slot = self.chunks.get_mut(key.index as usize / CHUNK_SLOTS)?.get_mut(key.index as usize % CHUNK_SLOTS)?;
        (slot.generation == key.generation).then_some(slot)
    }

    pub fn len(&self) -> usize {
        self.used as usize - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn keys(&self) -> Vec<Key> {
        let slots = self.chunks.iter().flatten().zip(0u32..).filter(|(slot, _)| slot.value.is_some());
        slots.map(|(slot, index)| Key { index, generation: slot.generation }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_names_a_later_value() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index, second.index, "the slot is reused");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!((slab.len(), slab.keys()), (1, vec![second]));
    }

    #[test]
    fn keys_survive_as_numbers_and_cost_nothing_more_when_optional() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..3 * CHUNK_SLOTS).map(|n| slab.insert(n)).collect();
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(Key::from_bits(key.to_bits()), Some(*key));
            assert_eq!(slab.get(*key), Some(&n));
        }
        assert_eq!(Key::from_bits(7), None);
        assert_eq!(size_of::<Option<Key>>(), 8);
        assert_eq!(slab.keys(), keys);
    }
}
