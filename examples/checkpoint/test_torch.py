"""Tests of the PyTorch and Hugging Face helpers; run by examples/test.sh where torch and transformers are. Argument: a scratch folder."""

import os
import random
import signal
import sys

SCRATCH = sys.argv[1]
os.environ["QUBIX_CHECKPOINT_DIR"] = os.path.join(SCRATCH, "checkpoints")
os.environ["QUBIX_CHECKPOINT_INTERVAL_S"] = "0"
os.environ["QUBIX_PROGRESS_FILE"] = os.path.join(SCRATCH, "progress")
os.environ["HF_HUB_OFFLINE"] = "1"
os.makedirs(os.environ["QUBIX_CHECKPOINT_DIR"])

import numpy  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

import qubix_checkpoint as qubix  # noqa: E402


def train(model, optimizer, steps):
    """Depends on every generator there is."""
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(torch.randn(4, 3)) * random.random() * numpy.random.rand()).square().mean()
        loss.backward()
        optimizer.step()


def made():
    torch.manual_seed(1)
    random.seed(1)
    numpy.random.seed(1)
    model = torch.nn.Linear(3, 2)
    return model, torch.optim.Adam(model.parameters())


def test_torch():
    model, optimizer = made()
    train(model, optimizer, 5)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 5, "rng": qubix.rng_state()}
    qubix.save_torch("latest", state)
    train(model, optimizer, 5)

    random.seed(99)
    resumed, other = torch.nn.Linear(3, 2), None
    loaded = qubix.load_torch()
    resumed.load_state_dict(loaded["model"])
    other = torch.optim.Adam(resumed.parameters())
    other.load_state_dict(loaded["optimizer"])
    qubix.restore_rng(loaded["rng"])
    train(resumed, other, 5)
    assert loaded["step"] == 5
    for ours, undisturbed in zip(resumed.parameters(), model.parameters()):
        assert torch.equal(ours, undisturbed), "the resumed model is another one"
    os.unlink(qubix.newest())


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return {"x": torch.tensor([float(index) / 64]), "labels": torch.tensor([float(index) / 32])}


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x, labels):
        return {"loss": (self.layer(x) - labels).square().mean()}


class StopAt(transformers.TrainerCallback):
    """The agent's SIGTERM, at a step."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def trainer(output, callbacks):
    arguments = transformers.TrainingArguments(
        output_dir=os.path.join(SCRATCH, output),
        max_steps=12,
        per_device_train_batch_size=4,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=3,
    )
    transformers.set_seed(3)
    return transformers.Trainer(model=Line(), args=arguments, train_dataset=Numbers(), callbacks=callbacks)


def test_trainer():
    undisturbed = trainer("undisturbed", [])
    undisturbed.train(resume_from_checkpoint=qubix.newest())

    first = trainer("first", [qubix.QubixCallback(every_s=3600), StopAt(5)])
    first.train()
    assert first.state.global_step == 6, f"it stopped at {first.state.global_step}"
    assert os.path.basename(qubix.newest()) == "checkpoint-6"
    with open(os.environ["QUBIX_PROGRESS_FILE"]) as file:
        assert file.read().strip() == "6/12"

    qubix._stop = False  # another process
    second = trainer("second", [qubix.QubixCallback()])
    second.train(resume_from_checkpoint=qubix.newest())
    assert second.state.global_step == 12
    assert os.path.basename(qubix.newest()) == "checkpoint-12", "an interval of 0 s saves at every step"
    for ours, other in zip(second.model.parameters(), undisturbed.model.parameters()):
        assert torch.equal(ours, other), "the resumed model is another one"


test_torch()
test_trainer()
print("ok")
