"""Tests of qubix_checkpoint.py; run by examples/test.sh in a container that is as a job's."""

import os
import signal
import tempfile
import time
import unittest

import qubix_checkpoint as qubix


class Checkpoints(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = os.environ["QUBIX_CHECKPOINT_DIR"] = os.path.join(self.scratch.name, "checkpoints")
        os.mkdir(self.folder)

    def tearDown(self):
        self.scratch.cleanup()

    def save(self, name, text):
        before = seen(self.folder)
        with qubix.saving(name) as folder:
            os.mkdir(os.path.join(folder, "deep"))
            with open(os.path.join(folder, "deep", "a.txt"), "w") as file:
                file.write(text)
            self.assertEqual(seen(self.folder), before)

    def test_a_folder_is_seen_when_it_is_whole_and_the_newest_is_found(self):
        self.assertIsNone(qubix.newest())
        self.save("step-2", "two")
        self.save("step-1", "one")
        self.assertEqual(os.path.basename(qubix.newest()), "step-1")
        with open(os.path.join(qubix.newest(), "deep", "a.txt")) as file:
            self.assertEqual(file.read(), "one")
        for ignored in (".half", "half.tmp"):
            os.mkdir(os.path.join(self.folder, ignored))
        self.assertEqual(os.path.basename(qubix.newest()), "step-1")

    def test_a_folder_takes_no_other_ones_place_and_a_file_does(self):
        self.save("step", "one")
        self.save("step", "two")
        self.assertEqual(sorted(os.listdir(self.folder)), ["step", "step-2"])
        self.assertEqual(os.path.basename(qubix.newest()), "step-2")
        for text in (b"one", b"two"):
            with qubix.saving_file("state") as file:
                file.write(text)
        with open(os.path.join(self.folder, "state"), "rb") as file:
            self.assertEqual(file.read(), b"two")

    def test_an_error_leaves_nothing_behind(self):
        for saving in (qubix.saving, qubix.saving_file):
            with self.assertRaises(KeyError):
                with saving("step-1"):
                    raise KeyError
        self.assertEqual(os.listdir(self.folder), [])

    def test_what_a_dead_process_left_is_removed_and_other_hidden_names_are_not(self):
        os.mkdir(os.path.join(self.folder, ".qubix-step-1.tmp"))
        os.mkdir(os.path.join(self.folder, ".mine"))
        self.save("step-2", "two")
        self.assertEqual(sorted(os.listdir(self.folder)), [".mine", "step-2"])

    def test_names_that_would_be_overlooked_are_refused(self):
        for name in ("", ".hidden", "a/b", "a.tmp"):
            with self.assertRaises(ValueError):
                self.save(name, "")

    def test_outside_qubix_nothing_is_due_and_saving_says_why_not(self):
        del os.environ["QUBIX_CHECKPOINT_DIR"]
        self.assertIsNone(qubix.newest())
        self.assertFalse(qubix.Pace(0).due())
        with self.assertRaisesRegex(RuntimeError, "QUBIX_CHECKPOINT_DIR"):
            self.save("step-1", "")

    def test_the_pace_is_the_jobs(self):
        os.environ["QUBIX_CHECKPOINT_INTERVAL_S"] = "0.1"
        pace = qubix.Pace()
        self.assertFalse(pace.due())
        time.sleep(0.11)
        self.assertTrue(pace.due())
        pace.done()
        self.assertFalse(pace.due())

    def test_progress_is_one_short_line_whatever_was_there(self):
        path = os.environ["QUBIX_PROGRESS_FILE"] = os.path.join(self.scratch.name, "progress")
        for done in (100, 7):
            qubix.report_progress(done, 100)
            with open(path) as file:
                text = file.read()
            self.assertEqual((text.strip(), len(text)), (f"{done}/100", 60))

    def test_progress_may_promise_more(self):
        path = os.environ["QUBIX_PROGRESS_FILE"] = os.path.join(self.scratch.name, "progress")
        qubix.report_progress(1, 4, deadline_s=600)
        with open(path) as file:
            self.assertEqual(file.read().strip(), "1/4 deadline=600")

    def test_a_request_to_save_and_go_is_seen_and_can_be_withdrawn(self):
        path = os.environ["QUBIX_REQUEST_FILE"] = os.path.join(self.scratch.name, "request")
        self.assertFalse(qubix.stop_requested())
        with open(path, "w") as file:
            file.write("1\n")
        self.assertTrue(qubix.stop_requested())
        os.unlink(path)
        self.assertFalse(qubix.stop_requested())
        del os.environ["QUBIX_REQUEST_FILE"]

    def test_the_epoch_is_read(self):
        path = os.environ["QUBIX_EPOCH_FILE"] = os.path.join(self.scratch.name, "epoch")
        with open(path, "w") as file:
            file.write("3\n")
        self.assertEqual(qubix.epoch(), 3)
        del os.environ["QUBIX_EPOCH_FILE"]
        self.assertEqual(qubix.epoch(), 0)

    def test_a_stop_is_noted(self):
        qubix.watch_sigterm()
        self.assertFalse(qubix.stop_requested())
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertTrue(qubix.stop_requested())

    def test_without_transformers_there_is_no_callback(self):
        self.assertFalse(hasattr(qubix, "QubixCallback"))


def seen(folder):
    return sorted(name for name in os.listdir(folder) if not name.startswith(".qubix-"))


if __name__ == "__main__":
    unittest.main()
