//! Lexical features of a text: length, digits, whitespace. Embeddings capture the topic of a prompt
//! and little of these.

/// Number of features.
pub const FEATURES: usize = 9;

/// Returns the features of a text, unscaled: a basis scales them by the data it was fitted on.
pub fn features(text: &str) -> [f32; FEATURES] {
    let mut count = Count::default();
    let mut in_word = false;
    let mut in_number = false;
    let mut underscores = 0;
    for character in text.chars() {
        count.characters += 1;
        count.newlines += usize::from(character == '\n');
        count.questions += usize::from(character == '?');
        count.upper += usize::from(character.is_uppercase());
        count.is_formula |= matches!(character, '$' | '=');
        underscores = if character == '_' { underscores + 1 } else { 0 };
        count.has_blank |= underscores == 4;
        let is_digit = character.is_ascii_digit();
        count.digits += usize::from(is_digit);
        count.numbers += usize::from(is_digit && !in_number);
        in_number = is_digit;
        let is_space = character.is_whitespace();
        count.words += usize::from(!is_space && !in_word);
        count.in_words += usize::from(!is_space);
        in_word = !is_space;
    }
    let share = |part: usize, of: usize| part as f32 / of.max(1) as f32;
    [
        (count.characters as f32).ln_1p(),
        share(count.digits, count.characters),
        count.newlines as f32,
        f32::from(count.has_blank),
        f32::from(count.is_formula),
        count.questions as f32,
        share(count.upper, count.characters),
        share(count.in_words, count.words),
        (count.numbers as f32).ln_1p(),
    ]
}

#[derive(Default)]
struct Count {
    characters: usize,
    digits: usize,
    numbers: usize,
    newlines: usize,
    questions: usize,
    upper: usize,
    words: usize,
    in_words: usize,
    has_blank: bool,
    is_formula: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_the_text() {
        let figures = features("Is 12 = 3 ____?\n");
        assert_eq!(figures[1], 3.0 / 16.0);
        assert_eq!(figures[2..6], [1.0, 1.0, 1.0, 1.0]);
        assert_eq!(figures[8], 2.0_f32.ln_1p());
        assert_eq!(features("")[0], 0.0);
    }
}
