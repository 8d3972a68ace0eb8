from __future__ import annotations

import builtins
import json

import huggingface_hub
import pytest

from utils.data.hub import DownloadError, fetch
from utils.data.multi30k import FILES, REPOSITORY, REVISION, multi30k, tokenize
from utils.data.pair import Pair

EXAMPLES = [  # in the format of the hub's files
    {"en": "Two dogs run on the beach.", "de": "Zwei Hunde laufen am Strand."},
    {"en": "A man's hat, seen up-close.", "de": "Ein Hut eines Mannes (Nahaufnahme)."},
    {"en": "Is it 3.5 metres?", "de": "Sind es 3.5 Meter?"},
]


@pytest.fixture
def folder(tmp_path):
    for split, name in FILES.items():
        examples = EXAMPLES if split == "train" else EXAMPLES[:1]
        lines = [json.dumps(example, ensure_ascii=split == "test") + "\n" for example in examples]
        (tmp_path / name).write_text("".join(lines), "utf-8")
    return tmp_path


def test_a_local_copy_is_read(folder):
    pairs = multi30k("train", local_dir=folder)
    assert pairs[0] == Pair(
        ("two", "dogs", "run", "on", "the", "beach", "."), ("zwei", "hunde", "laufen", "am", "strand", ".")
    )
    assert [len(multi30k(split, local_dir=folder)) for split in FILES] == [3, 1, 1]


def test_tokens():
    assert tokenize("A man's hat, seen up-close.") == ("a", "man's", "hat", ",", "seen", "up-close", ".")
    assert tokenize("Is it 3.5 metres? (Übung)") == ("is", "it", "3.5", "metres", "?", "(", "übung", ")")


def test_the_hub_is_asked_for_the_pinned_file(folder, monkeypatch):
    def download(repo_id, filename, *, repo_type, revision):
        assert (repo_id, repo_type, revision) == (REPOSITORY, "dataset", REVISION)
        return str(folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert multi30k("validation") == multi30k("validation", local_dir=folder)


def test_a_failed_download_says_which_file_which_mirror_and_what_to_do(monkeypatch):
    def download(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://mirror.example")
    with pytest.raises(DownloadError) as caught:
        multi30k("test")
    for words in ("test.jsonl", REPOSITORY, "https://mirror.example", "HF_ENDPOINT", "local_dir", REVISION):
        assert words in str(caught.value)
    assert f"https://mirror.example/datasets/{REPOSITORY}/resolve/{REVISION}/test.jsonl" in str(caught.value)


def test_every_error_of_the_hubs_client_is_caught(monkeypatch):
    import httpx

    response = httpx.Response(404, request=httpx.Request("GET", "https://huggingface.co/x"))
    errors = [
        huggingface_hub.errors.RepositoryNotFoundError("gone", response=response),
        huggingface_hub.errors.HfHubHTTPError("503", response=response),
        huggingface_hub.errors.HFValidationError("not a repository"),
        huggingface_hub.errors.OfflineModeIsEnabled("offline"),
        httpx.ConnectError("no route"),
        OSError("disk full"),
    ]
    for error in errors:

        def download(*_, error=error, **__):
            raise error

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        with pytest.raises(DownloadError, match=type(error).__name__):
            fetch("a/b", "c.json")


def test_without_the_hubs_client_one_is_told_to_install_it(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DownloadError, match="pip install huggingface-hub"):
        fetch("a/b", "c.json")


def test_a_local_folder_is_not_replaced_by_a_download(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("downloaded"))
    with pytest.raises(DownloadError, match=r"train\.jsonl is not there"):
        multi30k("train", local_dir=tmp_path)


def test_a_damaged_file_is_reported_with_its_line(folder):
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"en": "cut o')
    with pytest.raises(DownloadError, match="line 4"):
        multi30k("train", local_dir=folder)
    (folder / "test.jsonl").write_text('{"en": "no german"}\n')
    with pytest.raises(DownloadError, match="line 1"):
        multi30k("test", local_dir=folder)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="train, validation, test"):
        multi30k("val")
