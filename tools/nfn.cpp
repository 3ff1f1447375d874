#include "tools/nfn.hpp"

#include "tools/commands.hpp"

namespace attnsym {

const char* const network_folder_help =
    "DIR has one .safetensors file for every transformer, all of one shape; other files in it do not "
    "matter. Tensors of\n"
    "block 0, as those of `attnsym equivariance`, then the same of block1, ...:\n"
    "  block0.Q, block0.K [h,D,Dk]  block0.V [h,D,Dv]  block0.O [h,Dv,D]  block0.A [D,DA]  block0.B [DA,D]\n"
    "  block0.bA [DA]  block0.bB [D]\n"
    "  embedding, embedding.*, classifier, classifier.*: of any shape, and there may be none\n"
    "F64, F32, F16 or BF16. The labels are lines `file,label` under the header file,label: one for every "
    "file of DIR.";

void setup_nfn(CLI::App& app, ExitStatus& status) {
  CLI::App* nfn = app.add_subcommand(
      "nfn",
      "Networks on weights: train a predictor of a number per transformer, invariant under the symmetries");
  nfn->require_subcommand(1);
  setup_nfn_train(*nfn, status);
  setup_nfn_predict(*nfn, status);
  setup_nfn_eval(*nfn, status);
}

}  // namespace attnsym
