//! A stable sort of a few items.

/// Sorts items by a key, which is computed once for each. Items with equal keys keep their order.
///
/// An insertion sort: the library's sort is compiled for each type, into seven kilobytes of wasm.
pub fn sort_by_key<T, K: Ord>(items: &mut Vec<T>, key: impl FnMut(&T) -> K) {
    let keys: Vec<K> = items.iter().map(key).collect();
    let order = stable_order(keys.len(), &|a, b| keys.get(a) > keys.get(b));
    let mut unsorted: Vec<_> = items.drain(..).map(Some).collect();
    let sorted = order.into_iter();
    items.extend(sorted.filter_map(|index| unsorted.get_mut(index)?.take()));
}

/// Returns the indices below `count` in order.
fn stable_order(count: usize, is_after: &dyn Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(count);
    for index in 0..count {
        let before = order.iter().rposition(|&earlier| !is_after(earlier, index));
        order.insert(before.map_or(0, |place| place + 1), index);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_a_stable_sort() {
        let mut random = 1_u32;
        for count in 0..40 {
            let mut keys = Vec::new();
            for _ in 0..count {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                keys.push(random >> 28);
            }
            let mut expected: Vec<usize> = (0..count).collect();
            expected.sort_by_key(|&index| keys[index]);
            assert_eq!(stable_order(count, &|a, b| keys[a] > keys[b]), expected);
        }
    }
}
