"""What the attnsym command has to show on a real checkpoint, judged by NumPy alone.

    must_show.py --attnsym build/tools/attnsym --model all-MiniLM-L6-v2/ [--work DIR] [--only TEXT]

One line per claim; exit status 1 if any fails. The model is a BERT directory in F32 (tiny_bert.py makes a small one);
DIR takes about 1.5 GB for MiniLM and is a temporary directory by default.
"""

import argparse
import sys
import tempfile

import claims_canonical
import claims_different
import claims_evidence
import claims_families
import claims_interrupted
import claims_model_slips
import claims_models
import claims_same
import claims_shapes
import claims_slips
import claims_task_heads
import claims_text
import report
from workbench import Workbench

CLAIMS = [claim for part in (claims_same, claims_different, claims_shapes, claims_canonical, claims_evidence,
                               claims_interrupted, claims_families, claims_models, claims_slips,
                               claims_model_slips, claims_task_heads, claims_text)
          for claim in part.claims()]


def main():
    options = parse()
    with tempfile.TemporaryDirectory(dir=options.work, prefix="must-show-") as folder:
        bench = Workbench(options.attnsym, options.model, folder)
        wanted = [claim for claim in CLAIMS if options.only in claim.name]
        return 0 if report.run(wanted, bench) else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attnsym", required=True, help="the command")
    parser.add_argument("--model", required=True, help="a BERT directory")
    parser.add_argument("--work", help="an existing directory for temporary files")
    parser.add_argument("--only", default="", help="only claims whose name contains this")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
