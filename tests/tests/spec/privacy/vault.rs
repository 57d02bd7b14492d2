//! What is entrusted to the relay besides mail: recovery, exchanges, guardians, escrow.

use super::said::{Said, name_at_rest};
use relay_tests::deadline::unix_now;
use relay_tests::fields::{
    claim_fields, complete_fields, count_fields, get_fields, guardian_fields, key_fields, offer_fields,
    proof_fields, put_fields, random_bytes, random_name,
};
use relay_tests::{Action, Client, Owner};
use serde_json::{Value, json};

/// Requests that succeed.
pub(super) async fn succeed(client: &Client, said: &mut Said) {
    let (key, proof) = (random_name(), random_bytes(300));
    said.never_at_rest("a recovery key", &key);
    said.secret("a recovery key's name", &name_at_rest("recovery", &key));
    said.secret("a recovery proof", &hex::encode(&proof));
    client.call(Action::RecoveryStore, &proof_fields(&key, &proof)).await.success();
    client.call(Action::RecoveryQuery, &key_fields(&[&key])).await.success();
    let unknown = random_name();
    said.never_at_rest("an unknown recovery key", &unknown);
    client.call(Action::RecoveryQuery, &key_fields(&[unknown])).await.success();

    for finish in [true, false] {
        let [payload, response] = ["a payload", "a response"].map(|what| said.text(what));
        let code = client.call(Action::ExchangeOffer, &offer_fields(&payload)).await.said("code");
        said.code(&code);
        said.refusals.push(client.call(Action::ExchangeComplete, &complete_fields(&code)).await);
        client.call(Action::ExchangeClaim, &claim_fields(&code, &response)).await.success();
        let late = said.nonsense("a late response");
        said.refusals.push(client.call(Action::ExchangeClaim, &claim_fields(&code, &late)).await);
        if finish {
            client.call(Action::ExchangeComplete, &complete_fields(&code)).await.success();
            said.refusals.push(client.call(Action::ExchangeComplete, &complete_fields(&code)).await);
        }
    }

    let (owner, entry) = (Owner::random(), random_bytes(60));
    said.never_at_rest("a designator", &owner.public_key());
    said.never_at_rest("a guardian set", &owner.guardian_hash());
    said.secret("a guardian set's name", &name_at_rest("guardian", &owner.guardian_hash()));
    said.secret("a guardian", &hex::encode(&entry));
    let store = owner.guardian_store(&[&entry]);
    said.secret("a designation's signature", store["signature"].as_str().unwrap());
    client.call(Action::GuardianStore, &store).await.success();
    said.refusals.push(client.call(Action::GuardianStore, &store).await);
    client.call(Action::GuardianQuery, &guardian_fields(&owner.guardian_hash())).await.success();
    let delete = owner.guardian_delete();
    said.secret("a deletion's signature", delete["signature"].as_str().unwrap());
    client.call(Action::GuardianDelete, &delete).await.success();
    said.refusals.push(client.call(Action::GuardianDelete, &delete).await);
    // Something stays, so that the files hold it when they are searched.
    let stays = owner.guardian_store_at(&[&entry], unix_now() + 5);
    client.call(Action::GuardianStore, &stays).await.success();

    let gate = random_name();
    said.never_at_rest("a gate", &gate);
    said.secret("a gate's name", &name_at_rest("gate", &gate));
    for outcome in ["Stored", "Stored", "GateFull"] {
        let (slot, blob) = (random_name(), random_bytes(200));
        said.never_at_rest("a slot", &slot);
        said.secret("a slot's name", &name_at_rest("slot", &slot));
        said.secret("an escrow blob", &hex::encode(&blob));
        let put = client.call(Action::Escrow, &put_fields(&gate, &slot, &blob, 600)).await;
        assert_eq!(put.outcome()["status"], outcome);
        client.call(Action::Escrow, &get_fields(&gate, &slot)).await.outcome();
        client.call(Action::Escrow, &count_fields(&gate)).await.outcome();
    }
}

/// Requests that are refused, each for another reason.
pub(super) async fn fail(client: &Client, said: &mut Said) {
    let name = random_name();
    said.never_at_rest("a refused name", &name);
    let owner = Owner::random();
    said.never_at_rest("a refused designator", &owner.public_key());
    said.never_at_rest("a refused guardian set", &owner.guardian_hash());
    let late = owner.guardian_store_at(&[b"guardian"], 1);
    let mut forged = owner.guardian_delete();
    forged["signature"] = json!(hex::encode(random_bytes(64)));
    for fields in [&late, &forged] {
        said.never_at_rest("a refused designation's signature", fields["signature"].as_str().unwrap());
    }
    let strange = with(owner.guardian_delete(), "guardian_hash", json!(name));
    let wrong = with(late.clone(), "entries", json!([{ "data": said.nonsense("a bad entry") }]));
    let mut requests = vec![
        (Action::GuardianStore, late),
        (Action::GuardianStore, wrong),
        (Action::GuardianDelete, forged),
        (Action::GuardianDelete, strange),
    ];
    let nobodys = "000000";
    let response = said.nonsense("a response to nobody");
    requests.push((Action::ExchangeClaim, claim_fields(nobodys, &response)));
    let long = said.nonsense("a long payload").repeat(5000);
    requests.push((Action::ExchangeOffer, offer_fields(&long)));
    requests.push((Action::ExchangeClaim, claim_fields(nobodys, &long)));
    let put = put_fields(&name, &name, b"blob", 600);
    requests.push((Action::Escrow, with(put.clone(), "ttl_seconds", json!(0))));
    for (action, fields, field) in [
        (Action::RecoveryStore, proof_fields(&name, b"proof"), "key_hash"),
        (Action::RecoveryStore, proof_fields(&name, b"proof"), "proof_data"),
        (Action::RecoveryQuery, key_fields(&[&name]), "key_hashes"),
        (Action::ExchangeOffer, offer_fields("payload"), "expires_secs"),
        (Action::ExchangeClaim, claim_fields(nobodys, "response"), "code"),
        (Action::ExchangeComplete, complete_fields(nobodys), "code"),
        (Action::GuardianQuery, guardian_fields(&name), "guardian_hash"),
        (Action::GuardianDelete, owner.guardian_delete(), "designator_pk"),
        (Action::GuardianDelete, owner.guardian_delete(), "timestamp"),
        (Action::Escrow, put.clone(), "escrow_action"),
        (Action::Escrow, put.clone(), "gate_hash"),
        (Action::Escrow, put.clone(), "slot_hash"),
        (Action::Escrow, put.clone(), "blob"),
        (Action::Escrow, put, "ttl_seconds"),
    ] {
        // Neither hex nor base64 nor a number; a blank is in no alphabet.
        let value = format!("{} !", said.nonsense(&format!("a bad {field}")));
        requests.push((action, with(fields, field, json!(value))));
    }
    if client.via().is_outer() {
        // An outer relay refuses by itself what is larger than 64 KiB.
        requests.retain(|(_, fields)| fields.to_string().len() < 60_000);
    }
    for (action, fields) in requests {
        let reply = client.call(action, &fields).await;
        assert_ne!(reply.status, 200, "{action:?}: {}", reply.describe());
        said.refusals.push(reply);
    }
    if client.via().is_outer() {
        return;
    }
    let large = random_bytes(70_000);
    said.secret("a large blob", &hex::encode(&large[..32]));
    let put = client.call(Action::Escrow, &put_fields(&name, &name, &large, 600)).await;
    assert_eq!(put.outcome()["status"], "BlobTooLarge");
}

fn with(mut fields: Value, name: &str, value: Value) -> Value {
    fields[name] = value;
    fields
}
