//! An image does what the guest did of which it was recorded, bit for bit, and no image does harm.

use super::grant_tests::adapter;
use super::state_tests::{Shown, ended};
use super::tests::{MODEL, options};
use super::{DoneReason, Event, InputKind, Options, Session};
use crate::error::{Error, Status};
use crate::guest::LoadedGuest;
use crate::guest::host::ProgressSink;
use crate::replay::Recipe;
use crate::store::{Model, Store, StoreRef, sha256};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io::Write;

/// Bytes of the head, and where in it the version is.
const HEAD: usize = 76;
const VERSION_AT: usize = 8;

fn read(name: &str) -> Vec<u8> {
    std::fs::read(std::format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Models with a guest.
struct Room {
    guest: Arc<LoadedGuest>,
    models: Vec<(String, Arc<Model>)>,
    store: StoreRef,
}

impl Room {
    /// The demo model, and the 260K llama in all types of weights that the test data has it in.
    fn new() -> Self {
        let store = StoreRef::Own(Arc::new(Store::new()));
        let mut files = alloc::vec![(
            String::from("demo"),
            read("examples-c/demo/realm-demo.gguf")
        )];
        let data = std::env::var("REALM_TEST_DATA")
            .unwrap_or_else(|_| std::format!("{}/../../shared/data", env!("CARGO_MANIFEST_DIR")));
        match std::fs::read_dir(std::format!("{data}/models/stories260K")) {
            Ok(all) => {
                let names = all
                    .map(|f| f.unwrap().path())
                    .filter(|p| p.extension().is_some_and(|e| e == "gguf"));
                files.extend(
                    names.map(|p| (std::format!("{}", p.display()), std::fs::read(p).unwrap())),
                );
            }
            // Past the test runner, which keeps what passing tests print.
            Err(_) => writeln!(
                std::io::stderr(),
                "SKIPPED: images of the 260K llama: {data} does not have it"
            )
            .unwrap(),
        }
        let mut models = Vec::new();
        for (i, (name, bytes)) in files.iter().enumerate() {
            let id = MODEL + i as u32;
            store
                .register_copy(&[bytes], id, &crate::gguf::Limits::default())
                .unwrap();
            models.push((name.clone(), store.open(id).unwrap()));
        }
        Self {
            guest: LoadedGuest::load(&read("guest/realm_guest.wasm")).unwrap(),
            models,
            store,
        }
    }

    /// Another model, with its id.
    fn add(&self, bytes: &[u8]) -> (u32, Arc<Model>) {
        let limits = crate::gguf::Limits::default();
        let id = self.store.register_copy(&[bytes], 0, &limits).unwrap();
        (id, self.store.open(id).unwrap())
    }

    fn options(&self, model: usize, guest: &Arc<LoadedGuest>, params: &[(&str, &str)]) -> Options {
        let mut o = options(guest);
        o.store = self.store.clone();
        o.model_id = MODEL + model as u32;
        o.model = self.models[model].1.clone();
        for (key, value) in params {
            o.params.set(key, value).unwrap();
        }
        o
    }

    fn open(&self, model: usize, params: &[(&str, &str)]) -> Session {
        Session::open(self.options(model, &self.guest, params)).unwrap()
    }

    fn image(&self, model: usize, params: &[(&str, &str)]) -> Vec<u8> {
        self.open(model, params).record().unwrap()
    }

    fn replay(
        &self,
        model: usize,
        image: &[u8],
        params: &[(&str, &str)],
    ) -> Result<Session, Error> {
        let guest = LoadedGuest::load(image)?;
        Session::open(self.options(model, &guest, params))
    }
}

/// Settings of all that images know.
const KINDS: [&[(&str, &str)]; 7] = [
    &[("n_predict", "24")],
    &[
        ("kv_type", "q8_0"),
        ("n_batch", "3"),
        ("n_predict", "12"),
        ("ignore_eos", "1"),
    ],
    &[
        ("kv_type", "f16"),
        ("temp", "0.9"),
        ("seed", "5"),
        ("n_predict", "20"),
    ],
    &[
        ("temp", "0.8"),
        ("top_k", "0"),
        ("logit_bias", "300:1.5,12:-inf"),
        ("ignore_eos", "1"),
        ("n_predict", "20"),
        ("seed", "9"),
    ],
    &[
        ("temp", "1.3"),
        ("top_p", "0.7"),
        ("min_p", "0.02"),
        ("samplers", "top_p;temperature;min_p;top_k"),
        ("n_predict", "30"),
    ],
    &[
        ("temp", "0.7"),
        ("top_k", "7"),
        ("stop", "ing\nthe\nme"),
        ("n_batch", "5"),
        ("n_predict", "30"),
    ],
    &[("stop", " a\n."), ("n_predict", "40")],
];

/// What a turn showed, how it ended, and how far the context is then.
type Turn = (Shown, DoneReason, u32);

fn turn(s: &mut Session, kind: InputKind, input: &[u8]) -> Turn {
    s.prompt(kind, input).unwrap();
    let (shown, reason) = ended(s);
    (shown, reason, s.position())
}

/// Turns of all sorts: what was shown in each.
fn life(s: &mut Session) -> Vec<Turn> {
    let mut all = alloc::vec![turn(s, InputKind::Text, b"Once upon a time, there was")];
    all.push(turn(s, InputKind::Text, b" and then"));
    all.push(turn(s, InputKind::Text, b""));
    let ids: Vec<u8> = [5_u32, 300, 12]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect();
    all.push(turn(s, InputKind::Ids, &ids));
    // Cancelled after three tokens, and rewound to the first turn.
    s.prompt(InputKind::Text, b" She said").unwrap();
    let mut seen = 0;
    loop {
        match s.poll(0).unwrap() {
            Event::Token(_) => seen += 1,
            Event::Done(_) => break,
            Event::Again => {}
        }
        if seen == 3 {
            s.cancel();
        }
    }
    all.push(turn(s, InputKind::Text, b" no"));
    s.rewind(7).unwrap();
    all.push(turn(s, InputKind::Text, b" yes"));
    s.rewind(0).unwrap();
    all.push(turn(s, InputKind::Text, b"Once"));
    all
}

#[test]
fn an_image_does_what_the_guest_did() {
    let room = Room::new();
    for model in 0..room.models.len() {
        for params in KINDS {
            let mut params = params.to_vec();
            params.push(("ctx", "160"));
            // Blocks of 32 do not divide the 260K llama's heads of 8.
            params.retain(|(_, value)| model == 0 || *value != "q8_0");
            let image = room.image(model, &params);
            let mut replayed = room.replay(model, &image, &[]).unwrap();
            let mut guest = room.open(model, &params);
            let (name, _) = &room.models[model];
            let turns = life(&mut guest);
            assert_eq!(life(&mut replayed), turns, "{name}, {params:?}");
            let stops = params.iter().any(|(key, _)| *key == "stop");
            let stopped = turns.iter().filter(|t| t.1 == DoneReason::Stop).count();
            assert_eq!(stopped > 0, stops, "{name}, {params:?}");
            assert_eq!(replayed.stats().guest_linear_memory_bytes, 0);
        }
    }
}

/// Gives every turn up at once, while the flag is set.
unsafe extern "C" fn give_up(ctx: *mut c_void, _: u64, _: u64) -> i32 {
    // SAFETY: the flag of the test below, which outlives its session.
    i32::from(unsafe { &*ctx.cast::<AtomicBool>() }.load(Ordering::Relaxed))
}

#[test]
fn a_turn_that_is_cancelled_before_its_first_step_takes_nothing() {
    let room = Room::new();
    let params = [("n_predict", "6"), ("ignore_eos", "1"), ("ctx", "64")];
    let image = LoadedGuest::load(&room.image(0, &params)).unwrap();
    let flag = AtomicBool::new(false);
    let mut o = room.options(0, &image, &[]);
    o.watch = Some(ProgressSink {
        call: give_up,
        ctx: (&raw const flag).cast_mut().cast(),
    });
    let mut cancelled = Session::open(o).unwrap();
    let mut other = room.replay(0, &room.image(0, &params), &[]).unwrap();
    // After a rewind nothing is owed, so that an empty input takes the last token back.
    for s in [&mut cancelled, &mut other] {
        turn(s, InputKind::Text, b"What is the capital");
        s.rewind(4).unwrap();
    }
    flag.store(true, Ordering::Relaxed);
    for input in [&b""[..], b"", b" of", b""] {
        cancelled.prompt(InputKind::Text, input).unwrap();
        while cancelled.poll(0).unwrap() != Event::Done(DoneReason::Cancelled) {}
    }
    flag.store(false, Ordering::Relaxed);
    for input in [&b""[..], b" of"] {
        assert_eq!(
            turn(&mut cancelled, InputKind::Text, input),
            turn(&mut other, InputKind::Text, input)
        );
    }
}

/// Memory is planned for the largest values that registers may have, so that those must be what a step can give.
#[test]
fn registers_are_planned_for_no_more_than_a_step_gives() {
    let room = Room::new();
    let mut s = room.open(0, &[("ctx", "64"), ("n_batch", "8")]);
    s.record().unwrap();
    let compute = &s.instance.host().compute;
    let buffer = compute.recipe.unwrap();
    let mut words = alloc::vec![0; compute.memory.buffer(buffer).unwrap().bytes() as usize];
    compute.memory.buffer_read(buffer, 0, &mut words).unwrap();
    let recipe = Recipe::parse(&words, compute.memory.buffer_descs()).unwrap();
    let declared = compute.program(recipe.program).unwrap().registers();
    recipe.fits(declared).unwrap();
    let by_step = 4;
    assert_eq!(declared[0].max, 8);
    for i in 0..by_step {
        for wrong in [declared[i].max + 1, declared[i].max - 1, 1 << 27] {
            let mut registers = declared.to_vec();
            registers[i].max = wrong;
            let e = recipe.fits(&registers).unwrap_err();
            assert_eq!(e.status(), Status::Format, "register {i}: {wrong}");
        }
    }
}

#[test]
fn a_context_that_fills_up_and_parameters_that_can_be_set() {
    let room = Room::new();
    let params = [
        ("ctx", "40"),
        ("temp", "1"),
        ("seed", "3"),
        ("ignore_eos", "1"),
    ];
    let image = room.image(0, &params);
    let mut replayed = room.replay(0, &image, &[]).unwrap();
    let mut guest = room.open(0, &params);
    let reason = |s: &mut Session| {
        s.prompt(InputKind::Text, b"What is").unwrap();
        loop {
            if let Event::Done(reason) = s.poll(0).unwrap() {
                return (reason, s.position());
            }
        }
    };
    assert_eq!(reason(&mut replayed), (DoneReason::Context, 40));
    assert_eq!(reason(&mut guest), (DoneReason::Context, 40));
    let full = |s: &mut Session| {
        s.prompt(InputKind::Text, b"more").unwrap();
        s.poll(0).unwrap_err()
    };
    assert_eq!(full(&mut replayed), full(&mut guest));
    for s in [&mut replayed, &mut guest] {
        s.rewind(0).unwrap();
        s.set_param("seed", Some("77")).unwrap();
        s.set_param("n_predict", Some("9")).unwrap();
    }
    let turns = [&mut replayed, &mut guest].map(|s| turn(s, InputKind::Text, b"What is"));
    assert_eq!(turns[0], turns[1]);
    assert_eq!(turns[0].0.0.len(), 9);
    for (key, value) in [
        ("temp", "0"),
        ("ctx", "40"),
        ("n_predict", "x"),
        ("seed", "-2"),
    ] {
        let e = replayed.set_param(key, Some(value)).unwrap_err();
        assert_eq!(e.status(), Status::InvalidArgument, "{e}");
        assert!(e.message().contains(key), "{e}");
    }
    let refused = replayed
        .prompt(InputKind::Chat, b"hello")
        .and_then(|()| replayed.poll(0));
    assert!(refused.unwrap_err().message().contains("no chat formats"));
    assert_eq!(
        replayed.save(&mut |_| Ok(())).unwrap_err().status(),
        Status::Unsupported
    );
    assert_eq!(replayed.fork().err().unwrap().status(), Status::Unsupported);
}

fn refused(mut s: Session, what: &str) {
    let e = s.record().unwrap_err();
    assert_eq!(e.status(), Status::Unsupported, "{what}: {e}");
    let knows = e.message().starts_with("images do not know");
    assert!(knows && e.message().contains(what), "{what}: {e}");
}

#[test]
fn what_images_do_not_know_is_not_recorded() {
    let room = Room::new();
    for (key, value, what) in [
        ("repeat_penalty", "1.2", "penalties"),
        ("dry_multiplier", "0.5", "penalties"),
        ("mirostat", "2", "mirostat"),
        ("typical_p", "0.5", "typical_p"),
        ("top_n_sigma", "1", "top_n_sigma"),
        ("xtc_probability", "0.5", "XTC"),
        ("dynatemp_range", "0.5", "dynatemp"),
        ("grammar", "root ::= \"a\"", "grammars"),
        ("logprobs", "1", "logprobs"),
    ] {
        refused(room.open(0, &[("temp", "1"), (key, value)]), what);
    }
    // Nor other models than those that make text of what the KV cache holds.
    for (file, what) in [("bert", "embeddings"), ("mamba2", "a state")] {
        let bytes = read(&std::format!("tests/golden/arch/{file}.gguf"));
        let model = room.add(&bytes);
        let mut options = room.options(0, &room.guest, &[]);
        (options.model_id, options.model) = model;
        refused(Session::open(options).unwrap(), what);
    }
    // Nor adapters, unless they are taken back.
    let further = room.add(&adapter(0.3));
    let mut options = room.options(0, &room.guest, &[("lora", &std::format!("{}", further.0))]);
    options.granted.push(further);
    let mut s = Session::open(options).unwrap();
    let e = s.record().unwrap_err();
    assert!(e.message().contains("images do not know adapters"), "{e}");
    s.set_param("lora", None).unwrap();
    s.record().unwrap();
    // Nor what has begun, nor what is an image already.
    let mut s = room.open(0, &[("n_predict", "1")]);
    let image = s.record().unwrap();
    turn(&mut s, InputKind::Text, b"a");
    assert_eq!(s.record().unwrap_err().status(), Status::State);
    let mut s = room.replay(0, &image, &[]).unwrap();
    assert_eq!(s.record().unwrap_err().status(), Status::Unsupported);
    // A guest that was built without recipes says so, and goes on.
    let slim = LoadedGuest::load(&read("guest/realm_guest_slim.wasm")).unwrap();
    let mut s = Session::open(room.options(0, &slim, &[("n_predict", "2")])).unwrap();
    assert_eq!(s.record().unwrap_err().status(), Status::Unsupported);
    assert_eq!(turn(&mut s, InputKind::Text, b"a").0.0.len(), 2);
}

#[test]
fn a_plan_of_an_image_is_what_it_takes() {
    let room = Room::new();
    let image = room.image(0, &[("ctx", "128"), ("n_batch", "8")]);
    let guest = LoadedGuest::load(&image).unwrap();
    let plan = Session::plan(room.options(0, &guest, &[]), 128).unwrap();
    let mut s = room.replay(0, &image, &[("n_predict", "60")]).unwrap();
    turn(&mut s, InputKind::Text, &[b'a'; 64]);
    let stats = s.stats();
    assert_eq!(plan.buffer_bytes, stats.buffer_bytes);
    assert_eq!(plan.scratch_bytes, stats.scratch_bytes);
    assert!(stats.kv_bytes <= plan.kv_bytes, "{stats:?} {plan:?}");
    assert_eq!(plan.max_positions, 128);
}

/// Puts the right checksum behind what was changed.
fn seal(image: &mut [u8]) {
    let (body, sum) = image.split_last_chunk_mut::<32>().unwrap();
    *sum = sha256([&*body].into_iter(), None).unwrap();
}

#[test]
fn damage_is_found_whatever_it_is() {
    let room = Room::new();
    let image = room.image(0, &[("n_predict", "2"), ("ctx", "64")]);
    let mut s = room.open(0, &[("n_predict", "2"), ("ctx", "64")]);
    for _ in 0..3 {
        assert_eq!(s.record().unwrap(), image, "one is as another");
    }
    // Another recipe is another image, and does not stay in what comes after it.
    s.set_param("stop", Some("a long text that ends a turn"))
        .unwrap();
    assert_ne!(s.record().unwrap(), image);
    s.set_param("stop", None).unwrap();
    assert_eq!(s.record().unwrap(), image);
    for at in (0..HEAD).chain((HEAD..image.len()).step_by(97)) {
        let mut bad = image.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(LoadedGuest::load(&bad).is_err(), "byte {at}");
    }
    for length in (0..HEAD).chain((HEAD..image.len()).step_by(499)) {
        assert!(
            LoadedGuest::load(&image[..length]).is_err(),
            "{length} bytes"
        );
    }
    let mut long = image.clone();
    long.push(0);
    assert!(LoadedGuest::load(&long).is_err());
    let said = |image: &[u8]| LoadedGuest::load(image).err().unwrap();
    let mut bad = image.clone();
    bad[HEAD + 1] ^= 1;
    assert!(said(&bad).message().contains("damaged"));
    let mut newer = image.clone();
    newer[VERSION_AT] = 2;
    seal(&mut newer);
    assert_eq!(said(&newer).status(), Status::Unsupported);
    assert!(said(&newer).message().contains("version 2"));
    // Another model: the same, but for its digest.
    let mut other = image.clone();
    other[16] ^= 1;
    seal(&mut other);
    let e = room.replay(0, &other, &[]).err().unwrap();
    assert_eq!(e.status(), Status::InvalidArgument);
    assert!(e.message().contains("another model"), "{e}");
    if room.models.len() > 1 {
        let e = room.replay(1, &image, &[]).err().unwrap();
        assert_eq!(e.status(), Status::InvalidArgument);
    }
}

/// Whoever makes an image can seal it, so its content must do no harm: it is refused, or runs as any session does.
#[test]
fn what_is_sealed_is_not_trusted() {
    let room = Room::new();
    let params = [
        ("n_predict", "3"),
        ("ctx", "64"),
        ("temp", "1"),
        ("stop", "xyz"),
    ];
    let image = room.image(0, &params);
    let end = image.len() - 32;
    let (mut opened, mut refused) = (0, 0);
    let mut check = |bad: &mut Vec<u8>| {
        seal(bad);
        let Ok(mut s) = room.replay(0, bad, &[]) else {
            refused += 1;
            return;
        };
        opened += 1;
        if s.prompt(InputKind::Text, b"What is this?").is_err() {
            return;
        }
        for _ in 0..200 {
            match s.poll(0) {
                Ok(Event::Done(_)) | Err(_) => break,
                _ => {}
            }
        }
    };
    let mut state = 1_u32;
    let mut random = |n: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % n
    };
    // Words of the head and of the recipe, which is at the end; then bytes anywhere.
    for at in (48..HEAD).step_by(4).chain((end - 200..end).step_by(4)) {
        for value in [0, 1, 7, 0x7fff_ffff, u32::MAX] {
            let mut bad = image.clone();
            bad[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            check(&mut bad);
        }
    }
    for _ in 0..300 {
        let mut bad = image.clone();
        bad[48 + random(end - 48)] = random(256) as u8;
        check(&mut bad);
    }
    assert!(
        opened > 20 && refused > 100,
        "{opened} opened, {refused} refused"
    );
}
