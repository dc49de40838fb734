//! Texts whose shapes are slow to search.

/// A name, and the piece that a text of this shape repeats.
pub const SHAPES: &[(&str, &str)] = &[
    (
        "english",
        "The gateway reads a request once, plans where it goes, and answers the client as the provider answers it. ",
    ),
    (
        "code",
        "let total = items.iter().map(|item| item.price * 100).sum::<u64>(); // see std::iter\n",
    ),
    (
        "numbers",
        "12345.67 0.123 88.1 2024-11-05 10:30:45 1234 5678 9012 ",
    ),
    ("digits", "1"),
    ("zeros", "0"),
    ("digits with dashes", "4111-1111-1111-1112-"),
    ("digits with spaces", "1 2 3 "),
    ("groups of three", "030 123 4567 8 "),
    ("hexadecimal", "a1b2c3d4e5f60718"),
    ("letters", "aB1"),
    ("lower case", "abcdefghijklmnop"),
    ("upper case", "AKIABCDEFGHIJKLM"),
    ("words of capitals", "AKIA ASIA DE44 "),
    ("base64", "dGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcw+/"),
    (
        "base64 in lines",
        "dGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZQ==\n",
    ),
    ("separators", "-_.:=@+/ "),
    ("dashes", "-"),
    ("dots", "a.b."),
    ("colons", "::1:"),
    ("only colons", ":"),
    ("clock times", "10:30:45 "),
    ("equals signs", "a=b&"),
    ("at signs", "a@a@a@"),
    ("almost addresses", "someone.with.a.name@host "),
    ("long hosts", "a@b.c-d.e-f.1"),
    ("addresses", "jane.doe@example.org, "),
    ("URLs", "https://user:pass@example.org:8080/a/b?c=d&e=f "),
    ("almost passwords", "token= a:// b:"),
    ("signs", "+1 234 "),
    ("only signs", "+"),
    ("almost telephones", "+1234567890123456789a "),
    ("almost telephones in groups", "+1 234567890123456789a "),
    (
        "almost telephones of short groups",
        "+1 (23) 45-67 89 01 23 45a ",
    ),
    ("almost telephones with zeros", "001 234567890123456789a "),
    ("almost cards", "1 2 3 4 5 6 7 8 9 0 1 2a "),
    ("almost random", "aA1bB2aA1bB2aA1bB2aA1 "),
    (
        "almost accounts",
        "DE44AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIII ",
    ),
    ("brackets", "(0("),
    ("capitals", "DE44 5001 "),
    ("versions", "1.2.3.4.5.6."),
    ("almost tokens", "eyJ-"),
    ("parts of tokens", "eyJAIza"),
    ("parts of keys", "sk-gsk_ghp."),
    ("bearers", "Bearer bearer "),
    ("almost keys", "-----BEGIN PRIVATE KEY "),
    (
        "an error with keys",
        "Incorrect API key provided: sk-proj-abcdefgh1234567890. You can find your key at https://platform.example.org/account. ",
    ),
    (
        "secrets",
        "api_key: 'abc123456789', \"password\": \"hunter22\" ",
    ),
    ("JSON", "{\"a\":[1,2.5,\"b\"],\"c\":{\"d\":null}},"),
    ("spaces", "    "),
    ("other scripts", "Тест 漢字 é "),
];

/// Returns a text of a shape, of about this many bytes.
pub fn text(piece: &str, length: usize) -> String {
    let mut text = piece.repeat(length / piece.len() + 1);
    text.truncate(text.floor_char_boundary(length));
    text
}
