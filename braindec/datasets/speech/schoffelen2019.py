"""Schoffelen et al. 2019 (MOUS): MEG of people who listen to Dutch sentences, one sound file a sentence.

Source: Schoffelen, Oostenveld, Lam, Udden, Hulten & Hagoort, "A 204-subject multimodal neuroimaging dataset to study
language processing", Scientific Data 6:17; data.donders.ru.nl (a data use agreement), CTF system of 273 sensors.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from braindec.datasets.files import need_file, read_table, reading
from braindec.datasets.speech.fake import fake_recording, fake_stories, word_rows, write_wav
from braindec.datasets.speech.recordings import Continuous, Recording, SpeechRecordings, check_clock, read_raw
from braindec.types import DataError

REMEDY = "request the MOUS collection at data.donders.ru.nl, or set the data set's root to where it lies"
ENDINGS = (".ds", ".fif")
"""CTF's own folder, or the same recording converted by mne."""

SOUND = "EQ_Ramp_Int2_Int1LPF{:03d}"
_STARTS = re.compile(r"Start File (\d+)")
_INTERVAL = re.compile(r'xmin\s*=\s*([-\d.eE]+)\s+xmax\s*=\s*([-\d.eE]+)\s+text\s*=\s*"((?:[^"]|"")*)"')


class Schoffelen2019(SpeechRecordings):
    """3 s segments of MEG (tesla) about the words of each sentence; sentences too short for a segment give none.

    Files: ``sub-A2002/meg/sub-A2002_task-auditory_meg.ds``, its ``events.tsv`` whose ``value`` says ``Start File 3``
    when a sound begins, ``stimuli/audio_files/EQ_Ramp_Int2_Int1LPF003.wav``, and a Praat TextGrid of each sound with a
    tier of words in ``textgrids``.

    Parameters
    ----------
    textgrids : folder of the TextGrids below ``root``.
    tier : name of the tier of words.
    The others : see `SpeechRecordings`.
    """

    name = "schoffelen2019"
    unit = "T"
    remedy = REMEDY

    def __init__(
        self,
        root: str,
        textgrids: str = "stimuli/audio_files",
        tier: str = "words",
        rate_hz: float = 120.0,
        band_hz: tuple[float, float] | None = (0.1, 40.0),
        window_s: tuple[float, float] = (-0.5, 2.5),
        offset_s: float = 0.15,
        least_gap_s: float = 0.0,
        cache_dir: str | None = None,
        bad_positions: str = "raise",
    ) -> None:
        super().__init__(
            root=root,
            rate_hz=rate_hz,
            band_hz=band_hz,
            window_s=window_s,
            offset_s=offset_s,
            passage_s=window_s[1] - window_s[0],
            least_gap_s=least_gap_s,
            cache_dir=cache_dir,
            bad_positions="drop" if bad_positions == "drop" else "raise",
        )
        self.textgrids = textgrids
        self.tier = tier

    def subjects(self) -> tuple[str, ...]:
        """``sub-A2002``, ...: those with events of the auditory task."""
        pattern = "sub-A*/meg/*_task-auditory_events.tsv"
        found = sorted({path.name.split("_")[0] for path in Path(self.root).glob(pattern)})
        if not found:
            raise DataError(f"{self.root}: no {pattern}; {REMEDY}")
        return tuple(found)

    def recordings(self, subject: str) -> tuple[Recording, ...]:
        """The auditory recording of a subject; words are placed by the events that start their sound."""
        if subject not in self.subjects():
            raise DataError(
                f"schoffelen2019: unknown subject {subject!r}; {self.root} holds {', '.join(self.subjects())}"
            )
        path = Path(self.root) / subject / "meg" / f"{subject}_task-auditory_events.tsv"
        starts = started_sounds(path)
        words = self.words
        words = words.assign(number=words.groupby("sound").cumcount())
        joined = words.merge(starts, on="sound", how="inner")
        if joined.empty:
            raise DataError(f"{path}: no sound that starts has a TextGrid in {self.textgrids}")
        joined = joined.assign(recorded_s=joined["start_s"] + joined["onset_s"])
        check_clock(starts["start_s"].to_numpy(), starts["by_sample_s"].to_numpy(), str(path))
        stem = path.name.removesuffix("_events.tsv")
        files = [path.with_name(f"{stem}_meg{ending}") for ending in ENDINGS]
        data = next((file for file in files if file.exists()), files[0])
        return (Recording(data, 1, 1, joined[["sound", "number", "recorded_s"]]),)

    def transcript(self) -> pd.DataFrame:
        """Words of every TextGrid; a sound is one sentence."""
        paths = sorted((Path(self.root) / self.textgrids).glob("*.TextGrid"))
        if not paths:
            raise DataError(f"{Path(self.root) / self.textgrids}: no *.TextGrid with the words' times; {REMEDY}")
        tables = [read_textgrid(path, self.tier).assign(sound=path.stem, sentence=0) for path in paths]
        return pd.concat(tables, ignore_index=True)

    def sound_file(self, sound: str) -> Path:
        """``stimuli/audio_files/SOUND.wav``."""
        return Path(self.root) / "stimuli" / "audio_files" / f"{sound}.wav"

    def read(self, path: Path) -> Continuous:
        """The axial gradiometers of a CTF recording."""
        return read_raw(path, "mag", self.band_hz, REMEDY)[1]


def started_sounds(path: Path) -> pd.DataFrame:
    """Sounds that an ``events.tsv`` starts: ``sound``, ``start_s``, and the same by the column ``sample``.

    Raises
    ------
    DataError
        If no event starts a sound, or one starts twice.
    """
    table = read_table(path, ("onset", "value"), "the events", REMEDY)
    numbers = table["value"].astype(str).str.extract(_STARTS, expand=False)
    rows = table[numbers.notna()].assign(file=numbers.dropna().astype(int))
    onset = pd.to_numeric(rows["onset"], errors="coerce")
    if rows.empty or onset.isna().any():
        raise DataError(
            f"{path}: expected events 'Start File N' with onsets in s, found {len(rows)} in {len(table)} rows"
        )
    if rows["file"].duplicated().any():
        twice = int(rows["file"][rows["file"].duplicated()].iloc[0])
        raise DataError(f"{path}: 'Start File {twice}' occurs more than once; each sentence is heard once")
    sample = pd.to_numeric(rows["sample"], errors="coerce") if "sample" in rows else pd.Series(np.nan, rows.index)
    by_sample = sample / 1200.0 if sample.notna().all() else onset
    return pd.DataFrame(
        {"sound": rows["file"].map(SOUND.format), "start_s": onset, "by_sample_s": by_sample}
    ).reset_index(drop=True)


def read_textgrid(path: Path, tier: str) -> pd.DataFrame:
    """Words of one tier of a Praat TextGrid (long text format): ``onset_s``, ``duration_s``, ``word``; no silences.

    Raises
    ------
    DataError
        If the file is no TextGrid, or has no such tier or no word in it.
    """
    need_file(path, "the words' times", REMEDY)
    with reading(path, "TextGrid"):
        text = path.read_text(encoding="utf-8")
    tiers = dict(re.findall(r'name\s*=\s*"([^"]*)"(.*?)(?=item\s*\[\d+\]:|\Z)', text, flags=re.DOTALL))
    if tier not in tiers:
        raise DataError(f"{path}: expected a tier {tier!r}, found {sorted(tiers)}; set dataset.tier")
    found = [(float(a), float(b), word.strip()) for a, b, word in _INTERVAL.findall(tiers[tier])]
    words = [(a, b - a, word) for a, b, word in found if word and not word.startswith("<")]
    if not words:
        raise DataError(f"{path}: the tier {tier!r} holds no word")
    return pd.DataFrame(words, columns=["onset_s", "duration_s", "word"])


def write_fake(root: str | Path, n_subjects: int = 2, n_sounds: int = 8, n_channels: int = 10, seed: int = 0) -> None:
    """Write events, TextGrids and WAV files as published; recordings as FIF (published: CTF ``.ds``, 273 sensors)."""
    import mne

    root = Path(root)
    stories = fake_stories([SOUND.format(i + 1) for i in range(n_sounds)], 2, seed)
    starts, clock = [], 2.0
    for story in stories:
        folder = root / "stimuli" / "audio_files"
        write_wav(folder / f"{story.name}.wav", story, 44_100.0)
        (folder / f"{story.name}.TextGrid").write_text(_textgrid(word_rows(story), len(story.sound) / 16_000))
        starts.append(clock)
        clock += len(story.sound) / 16_000 + 1.5
    info = mne.create_info([f"MLC{i:02d}-4304" for i in range(n_channels)], 300.0, "mag")
    for subject in range(n_subjects):
        name = f"sub-A20{subject + 2:02d}"
        folder = root / name / "meg"
        folder.mkdir(parents=True, exist_ok=True)
        signal = fake_recording(stories, starts, n_channels, 300.0, 1e-13, seed + subject)
        raw = mne.io.RawArray(signal, info, verbose="error")
        raw.save(folder / f"{name}_task-auditory_meg.fif", overwrite=True, verbose="error")
        events = pd.DataFrame(
            {
                "onset": starts,
                "duration": 0.0,
                "sample": np.round(np.array(starts) * 1200).astype(int),
                "type": "Sound",
                "value": [f"Start File {i + 1}" for i in range(n_sounds)],
            }
        )
        others = events.assign(onset=events["onset"] - 0.5, sample=events["sample"] - 600, type="Fixation", value="n/a")
        joined = pd.concat([events, others]).sort_values("onset")
        joined.to_csv(folder / f"{name}_task-auditory_events.tsv", sep="\t", index=False)


def _textgrid(words: pd.DataFrame, length_s: float) -> str:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {length_s:.4f}"]
    lines += ["tiers? <exists>", "size = 1", "item []:", "    item [1]:", '        class = "IntervalTier"']
    lines += ['        name = "words"', "        xmin = 0", f"        xmax = {length_s:.4f}"]
    lines += [f"        intervals: size = {len(words)}"]
    for place, row in enumerate(words.to_dict("records"), start=1):
        lines += [f"        intervals [{place}]:", f"            xmin = {row['onset_s']:.4f}"]
        lines += [f"            xmax = {row['onset_s'] + row['duration_s']:.4f}", f'            text = "{row["word"]}"']
    return "\n".join(lines) + "\n"
