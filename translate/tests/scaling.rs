//! Processing time is linear in the size of untrusted input, whatever its shape.
//!
//! Each shape is built in two sizes, one eight times the other. A parser that rescans its input
//! takes 64 times as long for the larger.

mod cpu;
mod fixtures;

#[path = "../fuzz/targets.rs"]
#[allow(dead_code)]
mod targets;

use std::time::Duration;

use opentracy_translate::client::Api;
use opentracy_translate::embeddings;
use opentracy_translate::multipart::ModelSearch;
use opentracy_translate::openai::dialect;
use opentracy_translate::redact::{EventMask, KeyMask};
use opentracy_translate::wire_format::Format;

use crate::fixtures::{apis, formats, inputs, origin, streams, translate_stream};

const SMALL: usize = 100;
const LARGE: usize = SMALL * 8;
/// Largest allowed ratio of times: linear work takes 8 times as long, quadratic work 64 times.
const MOST: u32 = 32;
/// Shortest time that is distinguishable from noise.
const NOISE: Duration = Duration::from_micros(100);

fn time(work: &dyn Fn()) -> Duration {
    cpu::time(work).min(cpu::time(work))
}

/// Checks that `work` takes time linear in the input's size; `build` gets that size.
fn check<T>(what: &str, build: impl Fn(usize) -> T, work: impl Fn(&T)) {
    let (small, large) = (build(SMALL), build(LARGE));
    let mut measured = (NOISE, Duration::MAX);
    // Caches and clock rates differ from run to run.
    for _ in 0..6 {
        let short = time(&|| work(&small)).max(NOISE);
        let long = time(&|| work(&large));
        measured = (short, long);
        if long < short * MOST {
            return;
        }
    }
    panic!("{what}: {measured:?}");
}

fn repeat(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

/// A name, and a function that builds a request or answer of about that many bytes.
type Shape = (&'static str, fn(usize) -> String);

/// Requests of each API, each with one part repeated many times.
fn requests() -> Vec<Shape> {
    vec![
        ("messages", |n| {
            let all = repeat(n, |i| {
                let role = ["user", "assistant"][i % 2];
                format!(r#"{{"role":"{role}","content":"text {i}"}}"#)
            });
            format!(r#"{{"model":"m","max_tokens":9,"messages":[{all}]}}"#)
        }),
        ("system messages", |n| {
            let all = repeat(n, |i| {
                format!(r#"{{"role":"system","content":"text {i}"}}"#)
            });
            format!(r#"{{"model":"m","messages":[{all},{{"role":"user","content":"x"}}]}}"#)
        }),
        ("calls and results", |n| {
            let calls = repeat(n, |i| {
                format!(
                    r#"{{"id":"c{i}","type":"function","function":{{"name":"f","arguments":"{{\"a\":{i}}}"}}}}"#
                )
            });
            let results = repeat(n, |i| {
                format!(r#"{{"role":"tool","tool_call_id":"c{i}","content":"r{i}"}}"#)
            });
            format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{{"role":"assistant","tool_calls":[{calls}]}},{results}]}}"#
            )
        }),
        ("turns with a call each", |n| {
            let turns = repeat(n, |i| {
                format!(
                    r#"{{"role":"assistant","tool_calls":[{{"id":"c{i}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}]}},{{"role":"tool","tool_call_id":"c{i}","content":"r"}}"#
                )
            });
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{turns}]}}"#)
        }),
        ("parts", |n| {
            let parts = repeat(n, |i| format!(r#"{{"type":"text","text":"part {i}"}}"#));
            format!(
                r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":[{parts}]}}]}}"#
            )
        }),
        ("tools", |n| {
            let tools = repeat(n, |i| {
                format!(
                    r#"{{"type":"function","name":"f{i}","input_schema":{{"type":"object"}},"function":{{"name":"f{i}","parameters":{{"type":"object","properties":{{}}}}}}}}"#
                )
            });
            format!(
                r#"{{"model":"m","max_tokens":9,"tools":[{tools}],"messages":[{{"role":"user","content":"x"}}],"input":"x"}}"#
            )
        }),
        ("properties of a schema", |n| {
            let properties = repeat(n, |i| format!(r#""p{i}":{{"type":"string"}}"#));
            let schema = format!(r#"{{"type":"object","properties":{{{properties}}}}}"#);
            format!(
                r#"{{"model":"m","tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}],"response_format":{{"type":"json_schema","json_schema":{{"name":"s","schema":{schema}}}}},"messages":[{{"role":"user","content":"x"}}]}}"#
            )
        }),
        ("members", |n| {
            let members = repeat(n, |i| format!(r#""m{i}":{i}"#));
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{members}}}"#)
        }),
        ("members of one name", |n| {
            let members = repeat(n, |_| r#""user":"u""#.to_owned());
            format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"x","name":"x"}}],"metadata":{{{members}}},"logit_bias":{{{members}}}}}"#
            )
        }),
        ("stops", |n| {
            let stops = repeat(n, |i| format!(r#""s{i}""#));
            format!(
                r#"{{"model":"m","stop":[{stops}],"messages":[{{"role":"user","content":"x"}}]}}"#
            )
        }),
        ("blocks of tools", |n| {
            let calls = repeat(n, |i| {
                format!(r#"{{"type":"tool_use","id":"c{i}","name":"f","input":{{}}}}"#)
            });
            let results = repeat(n, |i| {
                format!(r#"{{"type":"tool_result","tool_use_id":"c{i}","content":"r{i}"}}"#)
            });
            format!(
                r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}},{{"role":"assistant","content":[{calls}]}},{{"role":"user","content":[{results}]}}]}}"#
            )
        }),
        ("items", |n| {
            let items = repeat(n, |i| {
                format!(
                    r#"{{"type":"function_call","call_id":"c{i}","name":"f","arguments":"{{}}"}},{{"type":"function_call_output","call_id":"c{i}","output":"r"}},{{"type":"message","role":"user","content":"x"}},{{"type":"reasoning","id":"r{i}","summary":[]}}"#
                )
            });
            format!(r#"{{"model":"m","input":[{items}]}}"#)
        }),
        ("escapes", |n| {
            let text = r#"\n\"\u00e9\ud83d\ude00"#.repeat(n * 4);
            format!(
                r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"{text}"}}],"input":"{text}"}}"#
            )
        }),
        ("arrays in arrays", |n| {
            format!(
                r#"{{"model":"m","messages":{}{}}}"#,
                "[".repeat(n * 40),
                "]".repeat(n * 40)
            )
        }),
        ("objects in objects", |n| {
            format!(
                r#"{{"model":"m","messages":[{}1{}]}}"#,
                r#"{"a":"#.repeat(n * 20),
                "}".repeat(n * 20)
            )
        }),
        ("spaces", |n| {
            let space = " \n".repeat(n * 40);
            format!(r#"{{{space}"model"{space}:{space}"m",{space}"messages":{space}[{space}]}}"#)
        }),
        ("pictures", |n| {
            let parts = repeat(n, |_| {
                r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}"#
                    .to_owned()
            });
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{parts}]}}]}}"#)
        }),
    ]
}

#[test]
fn requests_take_linear_time() {
    for (what, build) in requests() {
        check(what, build, |body| targets::request(body.as_bytes()));
    }
}

#[test]
fn replies_take_linear_time() {
    let shapes: Vec<Shape> = vec![
        ("choices", |n| {
            let all = repeat(n, |i| {
                format!(
                    r#"{{"index":{i},"message":{{"role":"assistant","content":"x"}},"finish_reason":"stop"}}"#
                )
            });
            format!(r#"{{"id":"1","choices":[{all}]}}"#)
        }),
        ("tool calls", |n| {
            let all = repeat(n, |i| {
                format!(
                    r#"{{"id":"c{i}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#
                )
            });
            format!(
                r#"{{"id":"1","choices":[{{"index":0,"message":{{"role":"assistant","tool_calls":[{all}]}},"finish_reason":"tool_calls"}}],"message":{{"tool_calls":[{all}]}}}}"#
            )
        }),
        ("blocks", |n| {
            let all = repeat(n, |i| {
                format!(
                    r#"{{"type":"text","text":"x{i}"}},{{"type":"tool_use","id":"t{i}","name":"f","input":{{}}}},{{"type":"thinking","thinking":"t","signature":"s"}}"#
                )
            });
            format!(
                r#"{{"id":"1","type":"message","role":"assistant","content":[{all}],"stop_reason":"end_turn","usage":{{"input_tokens":1,"output_tokens":1}}}}"#
            )
        }),
        ("parts", |n| {
            let all = repeat(n, |i| {
                format!(r#"{{"text":"x{i}"}},{{"functionCall":{{"name":"f","args":{{}}}}}}"#)
            });
            format!(r#"{{"candidates":[{{"content":{{"parts":[{all}]}},"finishReason":"STOP"}}]}}"#)
        }),
        ("Converse's blocks", |n| {
            let all = repeat(n, |i| {
                format!(
                    r#"{{"text":"x{i}"}},{{"toolUse":{{"toolUseId":"t{i}","name":"f","input":{{}}}}}}"#
                )
            });
            format!(
                r#"{{"output":{{"message":{{"role":"assistant","content":[{all}]}}}},"stopReason":"end_turn","usage":{{}}}}"#
            )
        }),
        ("an error's words", |n| {
            let text = "Your key sk-abcdefgh123456 is wrong: token=abc. ".repeat(n);
            format!(r#"{{"error":{{"message":"{text}","code":"{text}","type":"x"}}}}"#)
        }),
        ("an error's details", |n| {
            let all = repeat(n, |i| format!(r#"{{"loc":["body",{i}],"msg":"x"}}"#));
            format!(r#"{{"detail":[{all}]}}"#)
        }),
        ("a page", |n| "<p>Bad gateway</p>".repeat(n * 4)),
    ];
    for (what, build) in shapes {
        check(what, build, |body| targets::reply(body.as_bytes()));
    }
}

/// Repeats each event of each fixture, and splits it into many pieces.
#[test]
fn streams_take_linear_time() {
    let ends = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let text = bytes.split_inclusive(|byte| *byte == b'\n');
        let mut events = vec![Vec::new()];
        for line in text {
            if let Some(last) = events.last_mut() {
                last.extend_from_slice(line);
            }
            if matches!(line, b"\n" | b"\r\n") {
                events.push(Vec::new());
            }
        }
        events
    };
    for (format, name) in formats().filter(|(_, name)| *name != "bedrock") {
        for input in streams(name).into_iter().take(3) {
            let events = ends(&input.content);
            for at in 0..events.len().min(3) {
                let build = |n: usize| {
                    let mut all = events.clone();
                    all[at] = all[at].repeat(n);
                    all.concat()
                };
                let origin = origin(Api::CHAT_COMPLETIONS, format);
                check(
                    &format!("{name}/{} event {at}", input.name),
                    build,
                    |stream| {
                        let pieces: Vec<&[u8]> = stream.chunks(97).collect();
                        let out = translate_stream(&origin, &pieces);
                        targets::tapped(Api::CHAT_COMPLETIONS, &out.chunks(53).collect::<Vec<_>>());
                    },
                );
            }
        }
    }
    for (api, name) in apis() {
        for input in inputs(name, "streams", "in.sse").into_iter().take(3) {
            let events = ends(&input.content);
            for at in 0..events.len().min(3) {
                let build = |n: usize| {
                    let mut all = events.clone();
                    all[at] = all[at].repeat(n);
                    all.concat()
                };
                check(
                    &format!("{name}/{} event {at}", input.name),
                    build,
                    |stream| {
                        let out = translate_stream(&origin(api, Format::OPENAI), &[stream]);
                        targets::tapped(api, &out.chunks(53).collect::<Vec<_>>());
                    },
                );
            }
        }
    }
}

/// One event that never ends, a byte or two at a time.
#[test]
fn an_event_in_pieces_takes_linear_time() {
    for (format, _) in formats() {
        let build = |n: usize| format!("data: {{\"a\":\"{}", "x".repeat(n * 40)).into_bytes();
        check(&format!("{format:?}"), build, |stream| {
            let pieces: Vec<&[u8]> = stream.chunks(2).collect();
            translate_stream(&origin(Api::CHAT_COMPLETIONS, format), &pieces);
        });
    }
    for &api in Api::ALL {
        let build = |n: usize| "data: x\n".repeat(n * 4).into_bytes();
        check(&format!("{api:?}"), build, |stream| {
            targets::tapped(api, &stream.chunks(2).collect::<Vec<_>>());
        });
    }
    let build = |n: usize| "data: error 0123456789\n".repeat(n * 4).into_bytes();
    check("masked events", build, |stream| {
        let mut mask = EventMask::new(KeyMask::new(["0123456789abcdef"]));
        stream.chunks(2).for_each(|piece| {
            mask.push(piece, false);
        });
    });
}

#[test]
fn forms_take_linear_time() {
    let forms: [(&str, &str); 3] = [
        (
            "fields",
            "\r\n--b\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nx",
        ),
        ("headers", "--b\r\na: b\r\n"),
        ("almost boundaries", "\r\n--\r\n--"),
    ];
    for (what, piece) in forms {
        check(
            what,
            |n| piece.repeat(n * 4),
            |form| {
                let mut search = ModelSearch::new("b");
                form.as_bytes().chunks(3).for_each(|piece| {
                    search.push(piece);
                });
            },
        );
    }
}

#[test]
fn embeddings_take_linear_time() {
    for &format in Format::ALL {
        let target = embeddings::EmbeddingsTarget {
            format,
            model: "cohere.embed-english-v3",
            dialect: &dialect::OPENAI,
        };
        let build = |n: usize| {
            let inputs = repeat(n, |i| format!(r#""text {i}""#));
            let vectors = repeat(n, |i| {
                format!(r#"{{"values":[0.1,{i}],"embedding":[0.5],"index":{i}}}"#)
            });
            let floats = repeat(n, |_| "[0.1,0.2]".to_owned());
            (
                format!(r#"{{"model":"m","input":[{inputs}]}}"#),
                format!(r#"{{"embeddings":{{"float":[{floats}]}},"data":[{vectors}]}}"#),
                format!(r#"{{"embeddings":[{vectors}]}}"#),
            )
        };
        check(&format!("{format:?}"), build, |(request, reply, other)| {
            let _ = embeddings::translate_request(request.as_bytes(), &target);
            for reply in [reply, other] {
                let _ =
                    embeddings::translate_response(reply.as_bytes(), request.as_bytes(), &target);
            }
        });
    }
}
