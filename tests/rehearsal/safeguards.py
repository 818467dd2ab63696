"""The safeguards of live configuration, as ``sabotage.py`` takes them out: name, file, text, what replaces it, test.

Their tests are of the unit and native tiers, so that all of them take a few minutes; what booted guests say of most of
them is in ``test_refusals.py`` and ``test_adversity.py``.
"""

from __future__ import annotations

APPLIER = "cloudinit/guest/lbstack-apply"
WATCHER = "cloudinit/guest/lbstack-watch"
LIVE_TESTS = "tests/unit/guest/test_live.py::"
WATCHING = "tests/unit/guest/test_watching.py::"
CRASHES = "tests/native/test_guest_crashes.py::test_a_crash_at_any_point_leaves_one_complete_set"
EDITS = "tests/unit/guest/test_edits.py::"
GATE = "tests/unit/nodes/test_gate.py::"

SAFEGUARDS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "validation",
        APPLIER,
        "            validate(self.disk, new)\n",
        "",
        (
            "tests/unit/guest/test_refusals.py::"
            "test_all_errors_of_the_daemons_checkers_are_reported_without_paths_and_hashes"
        ),
    ),
    (
        "signature-of-parts",
        APPLIER,
        '        return answer if answer.code or "Verified OK" in answer.out else Answer(1, "", answer.why)\n',
        '        return Answer(0, "", "")\n',
        LIVE_TESTS + "test_a_set_that_somebody_else_signed_is_refused_and_the_one_before_serves",
    ),
    (
        "digest-of-parts",
        APPLIER,
        "    if hashlib.sha256(packed).hexdigest() != digest:\n",
        "    if False:\n",
        LIVE_TESTS + "test_a_part_of_another_set_with_the_same_files_is_refused_for_its_digest",
    ),
    (
        "digest-of-files",
        APPLIER,
        'return "" if hashlib.sha256(content).hexdigest() == digest else f"{path} differs from the manifest"',
        'return ""',
        "tests/unit/guest/test_refusals.py::test_an_unacceptable_set_is_refused[a file changed after signing]",
    ),
    (
        "atomic-install",
        APPLIER,
        (
            "        self.create(self.beside(path), data, mode, ids)\n"
            "        os.replace(self.at(self.beside(path)), self.at(path))\n"
        ),
        "        self.remove(path)\n        self.create(path, data, mode, ids)\n",
        CRASHES + "[while taking in live]",
    ),
    (
        "journal-before-files",
        APPLIER,
        (
            '            store.journal.save(trial=new.hash, phase="install", tried=new.hash, tries=tries, error="")\n'
            "            changed |= self.live.place(new, store.installed)\n"
        ),
        (
            "            changed |= self.live.place(new, store.installed)\n"
            '            store.journal.save(trial=new.hash, phase="install", tried=new.hash, tries=tries, error="")\n'
        ),
        CRASHES + "[while taking in live]",
    ),
    (
        "fall-back",
        APPLIER,
        "            return self.fall_back(new, error)\n",
        '            return self.report.end("failed", store, describe(error), 1)\n',
        LIVE_TESTS + "test_a_set_whose_haproxy_does_not_serve_falls_back_by_a_reload_and_the_vips_stay",
    ),
    (
        "vrrp-as-before",
        APPLIER,
        "if state in ([self.before] if self.before else VRRP_AT_WORK) else 0.0\n",
        "if state in VRRP_AT_WORK else 0.0\n",
        LIVE_TESTS + "test_a_standby_that_becomes_master_by_a_set_falls_back",
    ),
    (
        "considered",
        APPLIER,
        "        if self.asked or self.again:\n",
        "        if self.again:\n",
        LIVE_TESTS + "test_a_refused_set_is_considered_so_that_the_watcher_does_not_ask_for_ever",
    ),
    (
        "torn-is-asked-for-again",
        APPLIER,
        "class Torn(Later):\n",
        "class Torn(Trouble):\n",
        LIVE_TESTS + "test_keys_that_do_not_fit_together_are_asked_for_again_since_they_may_be_on_their_way",
    ),
    (
        "torn-is-not-dealt-with",
        APPLIER,
        "        if self.asked or self.again:\n",
        "        if self.asked and not self.again:\n",
        LIVE_TESTS + "test_a_set_that_is_wanted_again_after_one_that_did_not_fit_together_ends_the_refusal",
    ),
    (
        "full-disk-is-asked-for-again",
        APPLIER,
        "isinstance(error, (Later, OSError))",
        "isinstance(error, Later)",
        LIVE_TESTS + "test_a_full_disk_refuses_a_set_as_long_as_it_is_full",
    ),
    (
        "watchers-memory",
        WATCHER,
        '        if [ "$value" != "$seen" ]; then\n',
        "        if :; then\n",
        WATCHING + "test_a_set_that_was_dealt_with_is_not_handed_over_again",
    ),
    (
        "watchers-patience",
        WATCHER,
        "                left=$wait wait=$((wait * 2))\n",
        "                left=1\n",
        WATCHING + "test_a_set_that_is_not_dealt_with_is_handed_over_again_later_and_later",
    ),
    (
        "watchers-pause",
        WATCHER,
        '    sleep "$PAUSE_S"\n',
        "    sleep 0.1\n",
        WATCHING + "test_it_looks_once_in_each_period_and_not_more_and_a_change_is_noticed_within_two_seconds",
    ),
    (
        "bound-of-old-workers",
        APPLIER,
        "            self.room_for_workers()\n",
        "",
        EDITS + "test_at_the_bound_of_old_workers_a_change_waits_says_so_and_is_asked_for_again",
    ),
    (
        "edits-that-are-kept",
        APPLIER,
        "            if new.about.keeps_edits and other ",
        "            if False and other ",
        EDITS + "test_an_edit_stays_where_the_set_says_so_until_a_set_changes_that_file",
    ),
    (
        "servers-that-come-are-checked",
        APPLIER,
        ", *arrivals(kept, old, now)]",
        "]",
        EDITS + "test_a_server_that_comes_begins_as_down_where_another_is_up_and_only_there",
    ),
    (
        "gate-of-live-changes",
        "lbstack/nodes/gate.py",
        "    if peer.serves if wanted_of_peer is None else peer.serves_set(wanted_of_peer):\n",
        "    if True:\n",
        GATE + "test_silence_of_both_opens_nothing_for_a_node_that_was_alive",
    ),
    (
        "gate-between-the-nodes",
        "lbstack/deploy/roll.py",
        "                await self._wait(self.course.open_second, owner)\n",
        "                pass\n",
        "tests/unit/deploy/test_program.py::test_a_first_node_that_does_not_serve_its_set_leaves_the_second_untouched",
    ),
    (
        "standby-first",
        "lbstack/nodes/gate.py",
        '    if first.vrrp == "backup" and second.vrrp != "backup":\n        return (0, 1)\n',
        "",
        "tests/unit/deploy/test_program.py::test_who_is_standby_is_asked_and_goes_first",
    ),
    (
        "refusal-stops-at-once",
        "lbstack/nodes/gate.py",
        "        return None if other.has_refused(wanted_of_peer) else False\n",
        "        return False\n",
        "tests/unit/nodes/test_course.py::test_a_node_that_refused_its_live_change_is_not_waited_for",
    ),
)
