"""The data folder: who may have it, and the secrets in it."""

import os
import stat

import pytest

from mediavault.data_folder import DataFolder, parse_master_key, parse_master_keys, write_new
from mediavault.errors import ConfigError, DataFolderLocked


@pytest.fixture
def folder(tmp_path):
    """A folder, and others of the same path."""
    made: list[DataFolder] = []

    def another() -> DataFolder:
        made.append(DataFolder(tmp_path / "deep" / "data"))
        return made[-1]

    yield another
    for each in made:
        each.release()


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("all", "all", False),
        ("all", "api", False),
        ("storer", "all", False),
        ("api", "api", False),
        ("api", "media", True),
        ("storer", "api", True),
    ],
)
def test_roles_share_a_folder_and_two_of_a_role_do_not(folder, first, second, together):
    holder, other = folder(), folder()
    holder.lock(first)
    if together:
        other.lock(second)
        return
    for _ in range(2):  # the attempt itself leaves no lock behind
        with pytest.raises(DataFolderLocked, match="another process holds"):
            other.lock(second)
    holder.release()
    folder().lock("all")


def test_a_visitor_keeps_company_but_not_with_who_needs_it_alone(folder):
    api, visitor, another, alone = folder(), folder(), folder(), folder()
    api.lock("api")
    visitor.visit()
    another.visit()
    api.release()
    with pytest.raises(DataFolderLocked):
        alone.lock("all")
    visitor.release()
    another.release()
    alone.lock("all")
    with pytest.raises(DataFolderLocked):
        visitor.visit()


def test_the_master_key_is_made_once_and_is_its_owners_alone(folder):
    first, second = folder(), folder()
    (key,), made = first.master_keys()
    assert (len(key), made) == (32, True)
    assert second.master_keys() == ((key,), False)
    assert stat.S_IMODE((first.path / "master.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o700
    assert [path.name for path in first.path.iterdir()] == ["master.key"]
    first.forget_master_key()
    assert second.master_keys()[1]


@pytest.mark.parametrize("content", [b"", b"5a\n", b"\xff" * 64, b"5a" * 32 + b"\n5a\n"])
def test_a_damaged_master_key_is_refused_and_not_replaced(folder, content):
    path = folder().path / "master.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"master\.key is damaged: .*put it back from your backup"):
        folder().master_keys()
    assert (folder().path / "master.key").read_bytes() == content


def test_what_cannot_be_made_or_read_is_a_clear_error(folder, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"file is no folder, .*: name a folder with --data"):
            DataFolder(path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="nowhere is no folder"):
        DataFolder(tmp_path / "nowhere")
    for name in ("lock", "master.key"):
        (folder().path / name).mkdir()
    with pytest.raises(ConfigError, match="lock cannot be locked: Is a directory"):
        folder().lock("all")
    with pytest.raises(ConfigError, match=r"master\.key cannot be used: Is a directory"):
        folder().master_keys()


def test_a_lock_is_not_taken_on_somebody_elses_file(folder, tmp_path):
    (tmp_path / "other").write_text("mine")
    (folder().path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match="cannot be locked"):
        folder().lock("all")


def test_the_storer_of_a_folder_keeps_its_name(folder):
    assert folder().storer_id() == folder().storer_id()
    assert len(folder().storer_id()) == 32


def test_a_secret_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "secret"

    def power_cut(_: int) -> None:
        raise OSError("cut")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", power_cut)
        with pytest.raises(OSError, match="cut"):
            write_new(path, "half")
    assert list(tmp_path.iterdir()) == []
    write_new(path, "whole")
    with pytest.raises(FileExistsError):
        write_new(path, "another")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_links_has_secrets_too(tmp_path, monkeypatch):
    def no_links(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write_new(tmp_path / "secret", "whole")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "secret", "another")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("secret", "whole")]


def test_a_master_key_is_64_hexadecimal_digits():
    assert parse_master_key("5A" * 32 + "\n") == b"\x5a" * 32
    for text in ("", "5a" * 31, "5a" * 33, "5g" * 32, "٥a" * 32):
        with pytest.raises(ConfigError, match="64 hexadecimal digits"):
            parse_master_key(text)


def test_several_keys_are_kept_one_a_line_the_first_seals(folder):
    (first,), _ = folder().master_keys()
    second = bytes(range(32))
    folder().keep_master_keys((first,), (second, first))
    with pytest.raises(ConfigError, match="changed by another process meanwhile"):
        folder().keep_master_keys((first,), (bytes(32), first))
    assert folder().master_keys() == ((second, first), False)
    path = folder().path / "master.key"
    assert path.read_text() == f"{second.hex()}\n{first.hex()}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(each.name for each in path.parent.iterdir()) == ["lock.master-key", "master.key"]


def test_keys_are_replaced_whole_or_not_at_all(folder, monkeypatch):
    before, _ = folder().master_keys()

    def power_cut(_: int) -> None:
        raise OSError("cut")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", power_cut)
        with pytest.raises(ConfigError, match="cannot be written"):
            folder().keep_master_keys(before, (bytes(32), *before))
    assert folder().master_keys() == (before, False)
    assert sorted(each.name for each in folder().path.iterdir()) == ["lock.master-key", "master.key"]


@pytest.mark.parametrize(("mode", "refused"), [(0o600, False), (0o640, False), (0o604, True), (0o602, True)])
def test_a_master_key_that_everybody_can_read_or_write_is_refused_with_advice(folder, mode, refused):
    keys, _ = folder().master_keys()
    (folder().path / "master.key").chmod(mode)
    if not refused:
        assert folder().master_keys() == (keys, False)
        return
    with pytest.raises(ConfigError, match=r"open to everybody .*mode 060[24].*: chmod 600 it, .*master-key rotate"):
        folder().master_keys()


@pytest.fixture
def generous():
    """A process whose files are everybody's unless it says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_the_folder_and_its_files_are_private_whatever_the_umask(folder, generous):
    path = folder().path
    opened = folder()
    opened.lock("all")
    opened.master_keys()
    opened.storer_id()
    opened.keep_master_keys(opened.master_keys()[0], (bytes(32),))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.iterdir()} == {0o600}


def test_a_vaults_folder_that_was_opened_to_others_is_closed_and_anybodys_folder_is_left_alone(folder, tmp_path):
    opened = folder()
    opened.lock("all")
    opened.path.chmod(0o755)
    assert stat.S_IMODE(folder().path.stat().st_mode) == 0o700
    somebodys = tmp_path / "somebodys"
    somebodys.mkdir()
    somebodys.chmod(0o755)
    (somebodys / "letters").touch()
    DataFolder(somebodys)
    assert stat.S_IMODE(somebodys.stat().st_mode) == 0o755
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "lock").touch()
    DataFolder(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    made_for_it = tmp_path / "volume"
    made_for_it.mkdir()
    made_for_it.chmod(0o755)
    DataFolder(made_for_it)
    assert stat.S_IMODE(made_for_it.stat().st_mode) == 0o700


def test_several_master_keys_are_apart_by_commas_spaces_or_lines():
    assert parse_master_keys("") == ()
    assert parse_master_keys("5a" * 32 + ", " + "5b" * 32 + "\n") == (b"\x5a" * 32, b"\x5b" * 32)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        parse_master_keys("5a" * 32 + ",5a")
