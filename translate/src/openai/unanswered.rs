//! Calls that an application never answered, because it was stopped: providers refuse a
//! conversation with one.

/// The result of such a call.
const INTERRUPTED: &str = "(The call was interrupted, and has no result.)";

/// A message with the calls in it, and the call that it answers.
pub(crate) trait Turn {
    fn role(&self) -> &str;

    /// Returns the ids of its calls.
    fn calls(&self) -> Vec<&str>;

    /// Returns the id of the call that it answers.
    fn answered(&self) -> Option<&str>;

    /// Returns a message with the result of a call.
    fn result(call: String, words: &'static str) -> Self;
}

/// Adds a result for each call without one, after the others of its round.
pub(crate) fn answer_all<T: Turn>(messages: &mut Vec<T>) {
    let mut place = 0;
    while let Some(message) = messages.get(place) {
        place += 1;
        let calls = message.calls();
        if calls.is_empty() {
            continue;
        }
        let after = messages.get(place..).unwrap_or_default();
        let round = after.iter().take_while(|later| later.role() != "assistant");
        let answered: Vec<&str> = round.filter_map(Turn::answered).collect();
        let unanswered: Vec<String> = calls
            .into_iter()
            .filter(|call| !answered.contains(call))
            .map(str::to_owned)
            .collect();
        place += after
            .iter()
            .take_while(|later| later.role() == "tool")
            .count();
        for call in unanswered {
            messages.insert(place, T::result(call, INTERRUPTED));
            place += 1;
        }
    }
}
