//! Further models: what a guest may use beside its own, from when until when. With adapters, which is what they are for.

use super::state_tests::{Demo, Shown, finish, saved};
use super::{InputKind, Session};
use crate::error::Status;
use crate::gguf::write::Writer;
use alloc::vec::Vec;

/// The attention's queries of the demo model's first layer, and what their rank is here.
const WIDTH: u64 = 192;
const RANK: u64 = 2;

/// Adapters are told apart by what is in them.
pub fn adapter(weight: f32) -> Vec<u8> {
    let floats = |n: u64, step: f32| -> Vec<u8> {
        let value = |i: u64| ((i % 7) as f32 - 3.0) * step;
        (0..n).flat_map(|i| value(i).to_le_bytes()).collect()
    };
    let name = |half: &str| std::format!("blk.0.attn_q.weight.lora_{half}");
    Writer::new()
        .str("general.type", "adapter")
        .str("general.architecture", "llama")
        .str("adapter.type", "lora")
        .f32("adapter.lora.alpha", 4.0)
        .tensor(&name("a"), &[WIDTH, RANK], 0, &floats(WIDTH * RANK, 0.1))
        .tensor(&name("b"), &[RANK, WIDTH], 0, &floats(WIDTH * RANK, weight))
        .bytes()
}

fn demo() -> Demo {
    let demo = Demo::new();
    for (id, weight) in [(20, 0.3), (21, -0.2)] {
        let bytes = adapter(weight);
        demo.store
            .register_copy(&[&bytes], id, &crate::gguf::Limits::default())
            .unwrap();
    }
    demo
}

/// What the session makes of a prompt, from an empty context.
fn from_start(s: &mut Session) -> Shown {
    s.rewind(0).unwrap();
    s.prompt(InputKind::Text, b"The capital of Peru").unwrap();
    finish(s)
}

fn grant(demo: &Demo, s: &mut Session, ids: &[u32]) {
    let models = ids.iter().map(|id| (*id, demo.store.open(*id).unwrap()));
    s.grant(models.collect()).unwrap();
}

#[test]
fn a_model_is_used_while_it_is_granted() {
    let demo = demo();
    let mut s = demo.open(&[("n_predict", "3")]);
    let plain = from_start(&mut s);
    // It is in the store, and that is not enough.
    let e = s.set_param("lora", Some("20")).unwrap_err();
    assert_eq!(e.status(), Status::NotFound);
    grant(&demo, &mut s, &[20, 21]);
    assert_eq!(from_start(&mut s), plain, "nothing is asked for");
    s.set_param("lora", Some("20:1")).unwrap();
    let one = from_start(&mut s);
    s.set_param("lora", Some("20:1,21:0.5")).unwrap();
    let both = from_start(&mut s);
    assert!(one.2 != plain.2 && both.2 != one.2);
    // Another session of the same model has nothing of it.
    assert_eq!(from_start(&mut demo.open(&[("n_predict", "3")])), plain);
    // Neither has this one, once it is dropped.
    s.set_param("lora", None).unwrap();
    assert_eq!(from_start(&mut s), plain);
    // A grant that is taken back before the parameter is missed by the next turn, and only by that.
    s.set_param("lora", Some("20:1")).unwrap();
    assert_eq!(from_start(&mut s), one);
    grant(&demo, &mut s, &[]);
    s.prompt(InputKind::Text, b"x").unwrap();
    assert_eq!(s.poll(0).unwrap_err().status(), Status::NotFound);
    s.set_param("lora", None).unwrap();
    assert_eq!(from_start(&mut s), plain);
    // Models that leave the store stay for who has them.
    grant(&demo, &mut s, &[20]);
    demo.store.remove(20).unwrap();
    s.set_param("lora", Some("20:1")).unwrap();
    assert_eq!(from_start(&mut s), one);
    s.prompt(InputKind::Text, b"x").unwrap();
    assert_eq!(s.grant(Vec::new()).unwrap_err().status(), Status::State);
}

#[test]
fn forks_and_saved_sessions_keep_their_adapters() {
    let demo = demo();
    let params = [("n_predict", "3"), ("lora", "20:1,21:0.5")];
    let given = |ids: &[u32]| {
        let mut options = demo.options(&[]);
        options.granted = (ids.iter())
            .map(|id| (*id, demo.store.open(*id).unwrap()))
            .collect();
        options
    };
    let mut options = demo.options(&params);
    options.granted = given(&[20, 21]).granted;
    let mut s = Session::open(options).unwrap();
    s.prompt(InputKind::Text, b"The capital of").unwrap();
    finish(&mut s);
    let state = saved(&s);
    let go_on = |s: &mut Session| {
        s.prompt(InputKind::Text, b" Peru").unwrap();
        finish(s)
    };
    let mut fork = s.fork().unwrap();
    // The same files under other ids, and in another order.
    for (id, of) in [(30, 21), (31, 20)] {
        let model = demo.store.open(of).unwrap();
        let bytes = model.part(0).unwrap();
        demo.store
            .register_copy(&[bytes], id, &crate::gguf::Limits::default())
            .unwrap();
    }
    let mut loaded = Session::load_bytes(given(&[30, 31]), &state).unwrap();
    let want = go_on(&mut s);
    assert_eq!(go_on(&mut fork), want);
    assert_eq!(go_on(&mut loaded), want);
    assert_eq!(saved(&loaded), saved(&s));
    let e = Session::load_bytes(given(&[20]), &state).err().unwrap();
    assert_eq!(e.status(), Status::NotFound);
    assert!(e.message().contains("id 21 then"), "{e}");
    // The files are all there, and an id of then is another file's now.
    replace(&demo, 21, 0.9);
    let e = Session::load_bytes(given(&[30, 31, 21]), &state);
    let e = e.err().unwrap();
    assert_eq!(e.status(), Status::IdConflict);
    assert!(e.message().contains("the id 21"), "{e}");
}

/// Other bytes under an id.
fn replace(demo: &Demo, id: u32, weight: f32) {
    demo.store.remove(id).unwrap();
    demo.store
        .register_copy(&[&adapter(weight)], id, &crate::gguf::Limits::default())
        .unwrap();
}

#[test]
fn an_id_stands_for_one_model_while_it_is_used() {
    let demo = demo();
    let mut s = demo.open(&[("n_predict", "3")]);
    grant(&demo, &mut s, &[20]);
    s.set_param("lora", Some("20:1")).unwrap();
    let old = from_start(&mut s);
    // The same bytes again are the same model.
    replace(&demo, 20, 0.3);
    grant(&demo, &mut s, &[20]);
    assert_eq!(from_start(&mut s), old);
    replace(&demo, 20, 0.9);
    let other = || alloc::vec![(20, demo.store.open(20).unwrap())];
    let e = s.grant(other()).unwrap_err();
    assert_eq!(e.status(), Status::IdConflict);
    assert!(e.message().contains("have a turn first"), "{e}");
    assert_eq!(from_start(&mut s), old, "nothing has changed");
    // Without the parameter it is used until there has been a turn.
    s.set_param("lora", None).unwrap();
    assert_eq!(s.grant(other()).unwrap_err().status(), Status::IdConflict);
    let plain = from_start(&mut s);
    s.grant(other()).unwrap();
    s.set_param("lora", Some("20:1")).unwrap();
    let new = from_start(&mut s);
    assert!(new.2 != old.2 && new.2 != plain.2);
}

#[test]
fn what_is_used_is_saved_whether_or_not_it_is_granted() {
    let demo = demo();
    let given = || {
        let mut options = demo.options(&[]);
        options.granted = alloc::vec![(20, demo.store.open(20).unwrap())];
        options
    };
    let mut s = demo.open(&[("n_predict", "3")]);
    grant(&demo, &mut s, &[20]);
    s.set_param("lora", Some("20:1")).unwrap();
    s.prompt(InputKind::Text, b"The capital of").unwrap();
    finish(&mut s);
    s.set_param("lora", None).unwrap();
    s.grant(Vec::new()).unwrap();
    let state = saved(&s);
    let digest = demo.store.open(20).unwrap().digest(None).unwrap();
    assert!(state.windows(32).any(|w| w == digest));
    let mut loaded = Session::load_bytes(given(), &state).unwrap();
    let go_on = |s: &mut Session| {
        s.prompt(InputKind::Text, b" Peru").unwrap();
        finish(s)
    };
    assert_eq!(go_on(&mut loaded), go_on(&mut s));
}
