//! What recurrent layers keep from step to step: convolutions and scans.

use super::*;

/// A one-layer model whose layer is a convolution over three positions.
fn convolution() -> Host {
    let mut h = Host::tiny("lfm2");
    let zero = crate::fake::Meta::Array([0].into());
    h.meta.insert("lfm2.attention.head_count_kv".into(), zero);
    h.meta
        .insert("lfm2.shortconv.l_cache".into(), crate::fake::Meta::U32(3));
    h.tensors.retain(|t| !t.0.contains("attn_"));
    for (name, ne) in [
        ("token_embd_norm", &[8u64][..]),
        ("blk.0.attn_norm", &[8]),
        ("blk.0.shortconv.conv", &[3, 8]),
        ("blk.0.shortconv.in_proj", &[8, 24]),
        ("blk.0.shortconv.out_proj", &[8, 8]),
    ] {
        h.tensors.push((format!("{name}.weight"), 0, ne.to_vec()));
    }
    h.set("n_batch", "4");
    h
}

#[test]
fn kept_rows_change_places_with_every_step_that_succeeds() {
    let mut c = Chat::open(convolution()).unwrap();
    assert_eq!(host(|h| h.kv.len()), 0);
    // from, to, fresh, stay, where fresh ones go and come from.
    let kept = || host(|h| h.submitted.clone()).unwrap().0[7..].to_vec();
    let prompt = [1u32, 2, 3, 4, 5].map(u32::to_le_bytes).concat();
    assert_eq!(c.run(IDS, &prompt, &ids("ab"), 0), 0);
    assert_eq!(kept(), [4, 2, 2, 0, 2, 2]); // zeros before the first
    host(Host::complete);
    assert_eq!(event(&mut c.0, &[], STEP, 0, 0), 0);
    assert_eq!(kept(), [2, 0, 1, 1, 1, 0]);
    // Abandoned: the same is read again.
    host(|h| h.submitted = None);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
    assert_eq!(c.run(IDS, &6u32.to_le_bytes(), &ids("ab"), 0), 0);
    assert_eq!(kept(), [2, 0, 1, 1, 1, 0]);
    host(Host::complete);
    assert_eq!(event(&mut c.0, &[], STEP, 0, 0), 0);
    assert_eq!(kept(), [0, 2, 1, 1, 3, 0]);
    host(|h| h.submitted = None);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
    // Older rows are gone: back to the beginning, or not at all.
    let unsupported = abi::status::UNSUPPORTED;
    assert_eq!(event(&mut c.0, &[], REWIND, 2, 0), unsupported);
    assert_eq!(c.run(IDS, b"", &[], 0), unsupported);
    assert_eq!(context(), [1, 2, 3, 4, 6]);
    assert_eq!(event(&mut c.0, &[], REWIND, 5, 0), 0);
    assert_eq!(event(&mut c.0, &[], REWIND, 0, 0), 0);
    assert_eq!(c.run(IDS, &7u32.to_le_bytes(), &ids("a"), 0), 0);
    assert_eq!(kept()[0], 4);
    host(|h| h.submitted = None);
}

#[test]
fn what_was_not_shown_stays_in_a_context_that_cannot_go_back() {
    let mut h = convolution();
    for (key, value) in [("chat_template", "raw"), ("stop", "END"), ("ctx", "99")] {
        h.set(key, value);
    }
    let mut c = Chat::open(h).unwrap();
    assert_eq!(c.run(CHAT, b"q", &ids("aEND"), 99), Outcome::Stop as i32);
    assert_eq!(context(), [vec![BOS], ids("qaEN")].concat());
    assert_eq!(parsed(&mut c), "a");
    assert_eq!(c.run(REPLY, b"~", &ids("z"), 99), Outcome::Eos as i32);
    assert_eq!(context(), [vec![BOS], ids("qaEN~z")].concat());
}

/// A one-layer model whose layer is a scan: 2 heads of 8, 4 rows of state, behind a convolution over four positions.
fn scanning() -> Host {
    let mut h = Host::tiny("mamba2");
    for (name, n) in [
        ("conv_kernel", 4),
        ("inner_size", 16),
        ("state_size", 4),
        ("time_step_rank", 2),
        ("group_count", 1),
    ] {
        let key = format!("mamba2.ssm.{name}");
        h.meta.insert(key, crate::fake::Meta::U32(n));
    }
    h.tensors.retain(|t| !t.0.starts_with("blk."));
    for (name, ne) in [
        ("attn_norm.weight", &[8u64][..]),
        ("ssm_in.weight", &[8, 42]),
        ("ssm_conv1d.weight", &[4, 24]),
        ("ssm_conv1d.bias", &[24]),
        ("ssm_dt.bias", &[2]),
        ("ssm_a", &[1, 2]),
        ("ssm_d", &[1, 2]),
        ("ssm_norm.weight", &[16]),
        ("ssm_out.weight", &[16, 8]),
    ] {
        h.tensors.push((format!("blk.0.{name}"), 0, ne.to_vec()));
    }
    h.set("n_batch", "4");
    h
}

#[test]
fn a_scan_s_state_changes_places_with_every_step_that_succeeds() {
    let mut c = Chat::open(scanning()).unwrap();
    assert_eq!(host(|h| h.kv.len()), 0);
    // Where the state is read, whether there is one, where it is written, and its rows with the tokens.
    let scan = || host(|h| h.submitted.clone()).unwrap().0[13..].to_vec();
    let prompt = [1u32, 2, 3, 4, 5].map(u32::to_le_bytes).concat();
    assert_eq!(c.run(IDS, &prompt, &ids("ab"), 0), 0);
    assert_eq!(scan(), [0, 0, 4, 8]);
    host(Host::complete);
    assert_eq!(event(&mut c.0, &[], STEP, 0, 0), 0);
    assert_eq!(scan(), [4, 1, 0, 5]);
    // Abandoned: the same is read again.
    host(|h| h.submitted = None);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
    assert_eq!(c.run(IDS, &6u32.to_le_bytes(), &ids("ab"), 0), 0);
    assert_eq!(scan(), [4, 1, 0, 5]);
    host(|h| h.submitted = None);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
    assert_eq!(event(&mut c.0, &[], REWIND, 2, 0), abi::status::UNSUPPORTED);
    assert_eq!(event(&mut c.0, &[], REWIND, 0, 0), 0);
    assert_eq!(c.run(IDS, &6u32.to_le_bytes(), &ids("ab"), 0), 0);
    assert_eq!(scan(), [4, 0, 0, 5]);
    // Sizes that do not go together.
    for (name, n) in [
        ("time_step_rank", 3),
        ("group_count", 3),
        ("conv_kernel", 1),
    ] {
        let mut h = scanning();
        let key = format!("mamba2.ssm.{name}");
        h.meta.insert(key, crate::fake::Meta::U32(n));
        assert!(Chat::open(h).is_err(), "{name}");
        assert!(host(|h| h.message.contains("cannot be right")), "{name}");
    }
}
