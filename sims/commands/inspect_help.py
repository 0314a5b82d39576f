"""What scripts/inspect and its commands say of themselves."""

from __future__ import annotations

HELP = """\
Shows what is in a trajectory file: how the run was configured, where it comes from, which series and frames it holds, its
defects. Reads a run that is still going on (run.h5.parts/) just as well, and never writes to it.
"""
EXAMPLES = """\
more than the report, each with a --help of its own:
  scripts/inspect diagnose kink.h5                 which diagnostics this run allows: displacement, W2, kernel drift, …
  scripts/inspect diagnose kink.h5 kernel_drift w2 --csv measured.csv
  scripts/inspect compare lazy.h5 mean_field.h5    two runs in one table, and which is lazier
  scripts/inspect plot kink.h5 --kind paths        a figure of it as PNG and PDF
  scripts/inspect animate kink.h5 --kind paths --out kink.gif
  scripts/inspect report kink.h5 --out kink.html   all of it as one page that any browser opens
  scripts/inspect verify *.h5                      reads everything and compares it with its checksums
  scripts/inspect repair kink.h5                   sets a damaged run aside and makes it again

examples:
  scripts/inspect kink.h5                          everything but the particles themselves
  scripts/inspect kink.h5 --hash                   the same, with the hash of the content: equal for equal runs
  scripts/inspect kink.h5 --csv risk               the series "risk" as step,time,risk
  scripts/inspect kink.h5 --csv risk --out risk.csv
  scripts/inspect kink.h5.parts                    a run that is about to replace or extend a finished kink.h5
  scripts/inspect ./compare                        a file that has the name of a command

in Python: run = mf.Trajectory("kink.h5"); run[-1].theta; run.series("risk").values; run.config

exit codes: 0 shown, 2 wrong usage or no such series, 5 the file cannot be read or written, 7 not a run, damaged, or too new
"""
DIAGNOSE = """\
Computes diagnostics of the stored frames of a run, finished or not. Without names it lists those that this run allows, with
units and meaning, and those it does not, and why. Values are kept in RUN.diagnostics/ beside the file and not computed twice.
"""
DIAGNOSE_EXAMPLES = """\
examples:
  scripts/inspect diagnose kink.h5
  scripts/inspect diagnose kink.h5 displacement kernel_drift
  scripts/inspect diagnose kink.h5 displacement kernel_drift --csv measured.csv    one line for each frame
  scripts/inspect diagnose kink.h5 companion_gap --companion linear.h5
  scripts/inspect diagnose kink.h5 w2 --engine dask --scheduler tcp://HOST:8786    each frame a task; all see RUN under one name

in Python: found = mf.diagnose("kink.h5", ["kernel_drift"]); found["kernel_drift"].values; found.units
"""
COMPARE = """\
Two runs in one table: scaling, law, how far the neurons travelled, how much the kernel drifted, errors; and which is lazier.
"""
COMPARE_EXAMPLES = """\
example:
  scripts/inspect compare lazy.h5 mean_field.h5

in Python: print(mf.compare("lazy.h5", "mean_field.h5"))
"""
KINDS = """\
kinds:
  paths      neurons in the plane of |a|(w, b), or that of most movement, with the ways they went
  function   f over the training data, for scalar inputs
  kernel     the tangent kernel on the first training samples
  ellipse    the tangent kernel of two samples, as the ellipse vᵀ H⁻¹ v = 1
"""
PLOT_KINDS = f"""{KINDS}\
  phase      |a| against |(w, b)| with velocities, and what theory conserves
  risk       the risk against flow time
"""
PLOT = "Draws one figure of a run: OUT.png and OUT.pdf.\n"
PLOT_EXAMPLES = """\
examples:
  scripts/inspect plot kink.h5 --kind function --out learned
  scripts/inspect plot kink.h5 --kind phase --style paper      for print, one column wide; what it says is printed here

in Python: from sims import figures; ax = figures.paths("kink.h5")
"""
ANIMATE = """\
Animates a run: one picture for each recorded frame, 150 of them, evenly spaced, if there are more. A .gif needs nothing
else, an .mp4 needs ffmpeg. To see more of the fast beginning, record with mf.log_spaced.
"""
ANIMATE_EXAMPLES = """\
examples:
  scripts/inspect animate kink.h5 --kind paths --out kink.gif
  scripts/inspect animate kink.h5 --kind function --out kink.mp4 --fps 24

in Python: from sims import figures; figures.animate("kink.h5", "paths", "kink.gif")
"""
REPORT = """\
Makes one HTML page of a run, or of a sweep: verdicts, figures, an animation, configuration and provenance. Pictures are inside
the page, so it opens from a disk without a network and can be sent as it is.
"""
REPORT_EXAMPLES = """\
examples:
  scripts/inspect report kink.h5                           kink.html
  scripts/inspect report results/widths --out widths.html  the page of a sweep, with a table of its runs

in Python: from sims.commands import report; report.write("kink.h5", "kink.html")
"""
VERIFY = """\
Reads all of a run, finished or not, and compares it with its checksums: the bytes of every file with its seal (sha256), settings,
data, every frame, series and event, clocks that go forward, checkpoints and what they name. Writes nothing.
"""
VERIFY_EXAMPLES = """\
examples:
  scripts/inspect verify kink.h5
  scripts/inspect verify results/*.h5              many at once; the exit code speaks for all

in Python: from meanfield.files import verification; print(verification.verify("kink.h5"))

exit codes: 0 all are sound, 5 no such file, 7 one is damaged
"""
REPAIR = """\
Makes a damaged run again: from its own settings, data and start, which are checked first, to the same bits. The damaged one stays
beside it, its name ending in .damaged, and the frames that can still be read there are compared with the new ones. A run that goes
on from an earlier checkpoint needs no repair: mf.resume does it. Runs with functions of your own begin here, and go on by
mf.resume(RUN, flow=…).
"""
REPAIR_EXAMPLES = """\
examples:
  scripts/inspect repair kink.h5

in Python: from meanfield.files import verification; verification.begin_again("kink.h5"); mf.resume("kink.h5")

exit codes: 0 made again, or nothing to repair, 2 functions are needed, 5 set aside before, 6 another process is writing the run,
  7 settings or start are damaged too
"""
