//! The migration history of the reference server, and what to do with a database that has part of it (`data.md` §11).
//!
//! The scripts are ours, written from the net effect of each step; names and checksums are those the reference tooling
//! records, so that it goes on accepting the database.

use std::collections::HashMap;

use super::refusal;
use crate::storage::error::Error;

/// One migration of the reference server.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) sha256: &'static str,
    pub(super) script: &'static str,
}

macro_rules! step {
    ($number:literal, $name:literal, $sha256:literal) => {
        Step {
            name: $name,
            sha256: $sha256,
            script: include_str!(concat!("../../../migrations/postgres/reference/", $number, "_", $name, ".sql")),
        }
    };
}

/// All of them, in order.
pub(super) const STEPS: [Step; 44] = [
    step!("01", "20250713002718_initial", "afe7b15d5c7580c37fb167a46b53841fe084c16833986be9ac7326a4483e67ff"),
    step!("02", "20250713004156_add_sessions", "37463034c7495d504af854c553e47463096ec3caf89a70cb593389fde950fa26"),
    step!(
        "03",
        "20250713032124_add_tag_to_session",
        "9fd084845f76cbd8bb943cc499b14b2d86b8f08db6c15bc916e62a29e3654336"
    ),
    step!(
        "04",
        "20250714030924_add_session_metadata",
        "30091cf622ddc55af02fa4c85714999dc1c9c64ef383b55ffada7c67ec45d4c7"
    ),
    step!("05", "20250714032124_session_timeouts", "4e3ec2db3101decf2b5fb8f957879bfd6a671eb857ee55434f3ce61362645abb"),
    step!(
        "06",
        "20250715012822_add_metadata_version_agent_state",
        "61b4a2e7ae1511fc8b12933e828256395fae8388f132814a6351688cfc4f8f3c"
    ),
    step!(
        "07",
        "20250718031550_add_local_id_to_session_message",
        "c9611eba15fc1aaf0c24c4372b53836b50924d13cac65470cd57f9d7f34a27d1"
    ),
    step!("08", "20250718032748_add_push_token", "94c98798277c5f174f86fad0e02650ecb4dd141b162f35a5770973ecbd5679bc"),
    step!(
        "09",
        "20250719042829_add_terminal_auth_request",
        "94ae2a81e40f811561b54b991cabbcc68d04c96da2cd90d530cc423055fce0f5"
    ),
    step!(
        "10",
        "20250719061508_add_response_account",
        "b47856a7009e81ddcdd836ec91bdc2c9fb7f88692ddcc06452b3085eff3764f7"
    ),
    step!("11", "20250721073743_add_usage_report", "38803641be7cbceed040d13a7fa7d2c69875f36adfb7557c0f7877c1f3e62fc1"),
    step!("12", "20250726092110_remove_updates", "ad96e1eafa29fe7450a21f66f7dd1526db378d35d2f7989850300415c2de8600"),
    step!(
        "13",
        "20250726205102_add_settings_to_account",
        "0d42c5c7b544a0eb2aa48330e6e10f16a7782ef9878d353884a3f91b65c751b3"
    ),
    step!(
        "14",
        "20250726205206_add_account_settings_version",
        "169ddb5d7366162886a95d8264f6e6795d54c7fd9bbf9fab7b16379d6ac3b9b4"
    ),
    step!("15", "20250812092041_add_machine_model", "f59d83818092b809c3f998ddda75a4d96220bb37807f3a318f54925628d03fcc"),
    step!(
        "16",
        "20250816171155_add_app_to_app_authentication",
        "204db93663756692517a9e4178d0674ceab7693fbf96b4c2552085b6c45b6b8d"
    ),
    step!(
        "17",
        "20250818044258_add_daemon_state_to_machine",
        "1c5fa021745e72b31f1c8bbbe6686cf053b26a072e316fc76d0a6d965557bb4e"
    ),
    step!(
        "18",
        "20250820051609_add_session_id_seq_index",
        "1493b4c1545a310fcd4579ba27800baa781fb74e72f35cd9f453333f3e209816"
    ),
    step!("19", "20250820052449_add_session_sort", "f2f5c1dad9a69de87077e49ac0765ccb31fe3134fe79b96b6b02727faed0c78f"),
    step!(
        "20",
        "20250827015520_add_github_entities",
        "905e9843f4644d3dc4edcfd03a6d2fdf95417c1d80ead13dd2943708a67aa53c"
    ),
    step!(
        "21",
        "20250827044624_add_user_profile_fields",
        "e806d51c74c829d9dc6fbda05502318a28b7ca05be18b397608d12d6a95ccbe1"
    ),
    step!(
        "22",
        "20250827045037_add_reuse_key_to_file",
        "0417c6737e93c4f442aca5fba9ff6ee3c4919f3182625294753973bdfbc45f91"
    ),
    step!(
        "23",
        "20250827051355_add_image_parameters",
        "b1242cf5a043f06277e72610f72b1c4456534719e1410a644baf06bfd75fbce4"
    ),
    step!(
        "24",
        "20250901205028_add_service_account_tokens",
        "7b7955381a2e19593f54c3a28df62c925c3d940c621efa54403b5ae574c69b39"
    ),
    step!(
        "25",
        "20250908050408_add_data_encryption_key",
        "58c3eb22b41246c51dfd79280e98f54543dae8b715eda7b5ef54d2b34a7b8e43"
    ),
    step!(
        "26",
        "20250908052114_add_machine_data_encryption_key",
        "5dcc9dfe56a18b1696878bd0ab22ebb2b33606892964207b8f227168b9a2284b"
    ),
    step!(
        "27",
        "20250911030241_add_version2_field",
        "047eaf5633408378030123d828d663ffb167dccdbfaae3fc9cf8abf4f5396818"
    ),
    step!("28", "20250917052000_add_artefacts", "cf475b55ae1842d4cdb0c350098411f54ac0ea55eaf88fd94021a058e9a72136"),
    step!("29", "20250917055002_add_access_key", "c6014c2a89ec2618addd34ce4a876ee816a3e9f4b62d87f9e253d001b2a9a94c"),
    step!("30", "20250918045344_add_friendships", "8ed721aded6b0cf6882b1bda2bdadc349e789042b55f10debe1aea9214f3a1d1"),
    step!(
        "31",
        "20250919021354_fix_relationship_status",
        "3ce1a072ec3b8e60daced5b36fd00ae995a3ac4bbe237689b669c172698a74e2"
    ),
    step!("32", "20250920025406_add_username", "bd5ef1a34ef99c69b4d5eec2d76c793de6d3721052a2314018cc86d0bfffa24a"),
    step!(
        "33",
        "20250920035415_make_github_user_id_unique",
        "cd815eb6d6410979f1d4b6625e184a44a50d0fe084a0c0cb9e0420a078566cd9"
    ),
    step!("34", "20250920213557_add_user_feed", "32f7d374b5149281a312a8a42104fa6fb2cb4719d748c2a40277fa9d702a4628"),
    step!(
        "35",
        "20250920215413_add_last_notified_at",
        "c72b53a43aaa2f66506c1398400963001cf6de6dd3fc63004237cdd90ebec7fd"
    ),
    step!("36", "20250922000310_add_user_kv", "a3c4cb836188ee2a89a716e2f2b5812967fb00baf4d64c7e1af9eb57eb7fb793"),
    step!(
        "37",
        "20260109044634_add_session_sharing",
        "07bb0e64da09bb728c8caf5243c334d67e62b8411b4ffd54b5d53e9adbb7234d"
    ),
    step!(
        "38",
        "20260109050001_remove_public_share_access_level",
        "d876e15c80788271fbccdc181c574385055aaa26b4582f389cae0852a484ed78"
    ),
    step!(
        "39",
        "20260109051716_add_log_access_to_public_share",
        "9981a42ce09f76e7e983f137b5ce1aaa9ecc6beb877e4494a19e6d07f7cf6517"
    ),
    step!(
        "40",
        "20260109052146_rename_log_access_to_is_consent_required",
        "ba0f2306adec140f4162c48c184975b409210646f95b900acdac9413b3341be0"
    ),
    step!(
        "41",
        "20260126120000_add_content_keys_and_public_share_token_hash",
        "5fcae2003601f01bfaba99acb4023b5d0a80b3108755c1f5b7ebdcdc35b3947f"
    ),
    step!(
        "42",
        "20260128120000_add_session_share_can_approve_permissions",
        "b4515110d7122aca8c1377076559965774c652e9e1adfa4a89b1e5f6b24758e0"
    ),
    step!(
        "43",
        "20260130094429_add_account_change",
        "7954ab1b8a72e879d4a5e4c3ac46d7e8850a386f8aa7cc189fcbc00c30a39fd8"
    ),
    step!(
        "44",
        "20260130190000_add_account_changes_floor",
        "cbfe106f872f52a826eec3e3a436fc20b64b350728eea332cb59727bcfd8fc6d"
    ),
];

/// The step that deletes rows: all public links, whose tokens were kept as they are until then (`data.md` §11.3).
pub(super) const DELETES_PUBLIC_LINKS: &str = "20260126120000_add_content_keys_and_public_share_token_hash";

/// A row of `_prisma_migrations`, in the order they were started.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) name: String,
    pub(super) finished: bool,
    pub(super) rolled_back: bool,
}

/// What a history has that this server cannot follow: a migration that failed, or one of a newer server.
pub(super) fn faults(recorded: &[Recorded]) -> Vec<String> {
    let failed = recorded.iter().filter(|row| !row.finished && !row.rolled_back).map(|row| {
        format!("the migration {} of the reference server has failed; resolve it with the tool that ran it", row.name)
    });
    let is_unknown = |row: &&Recorded| row.finished && STEPS.iter().all(|step| step.name != row.name);
    let mut unknown: Vec<_> = latest(recorded).into_values().filter(is_unknown).map(|row| &row.name).collect();
    unknown.sort_unstable();
    let unknown = unknown
        .into_iter()
        .map(|name| format!("the migration {name} is of a newer reference server, which is not known here"));
    failed.chain(unknown).collect()
}

/// Of several rows with one name the latest counts; rows that were rolled back do not.
fn latest(recorded: &[Recorded]) -> HashMap<&str, &Recorded> {
    let mut latest: HashMap<&str, &Recorded> = recorded.iter().map(|row| (row.name.as_str(), row)).collect();
    latest.retain(|_, row| !row.rolled_back);
    latest
}

/// The steps that remain.
pub(super) fn remaining(recorded: &[Recorded]) -> Result<&'static [Step], Error> {
    const ALL: &[Step] = &STEPS;
    if let Some(fault) = faults(recorded).into_iter().next() {
        return Err(refusal(fault));
    }
    let latest = latest(recorded);
    let done = ALL.iter().take_while(|step| latest.contains_key(step.name)).count();
    if done < latest.len() {
        return Err(refusal(format!("the migration {} is missing although later ones are there", ALL[done].name)));
    }
    Ok(&ALL[done..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(name: &str) -> Recorded {
        Recorded { name: name.into(), finished: true, rolled_back: false }
    }

    #[test]
    fn the_step_that_deletes_is_the_one() {
        let deletes = |step: &&Step| step.script.contains("DELETE FROM");
        let names: Vec<_> = STEPS.iter().filter(deletes).map(|step| step.name).collect();
        assert_eq!(names, [DELETES_PUBLIC_LINKS]);
    }

    #[test]
    fn complete_partial_and_unusable_histories() {
        let all: Vec<_> = STEPS.iter().map(|step| finished(step.name)).collect();
        assert_eq!(remaining(&all).unwrap().len(), 0);
        assert_eq!(remaining(&all[..40]).unwrap()[0].name, STEPS[40].name);
        assert_eq!(remaining(&[]).unwrap().len(), 44);

        let mut gap: Vec<_> = STEPS.iter().map(|step| finished(step.name)).collect();
        gap.remove(7);
        assert!(remaining(&gap).unwrap_err().to_string().contains(STEPS[7].name));
        let newer = [finished(STEPS[0].name), finished("20270101000000_new")];
        assert!(remaining(&newer).unwrap_err().to_string().contains("20270101000000_new"));
        let failed = [Recorded { name: STEPS[0].name.into(), finished: false, rolled_back: false }];
        assert!(remaining(&failed).unwrap_err().to_string().contains("has failed"));

        let all_faults = [&newer[..], &failed].concat();
        assert_eq!(faults(&all_faults).len(), 2, "{all_faults:?}");

        // Rolled back, then done again; and rolled back only.
        let again =
            [Recorded { name: STEPS[0].name.into(), finished: false, rolled_back: true }, finished(STEPS[0].name)];
        assert_eq!(remaining(&again).unwrap().len(), 43);
        assert_eq!(remaining(&again[..1]).unwrap().len(), 44);
    }
}
