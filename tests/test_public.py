"""The public surface: what each folder offers, by name; a change of it is a change of this file."""

import importlib

import pytest

import frostline

SURFACE = {
    "frostline": "adapt finetune freeze load_recipe merge_adapters outline param_groups replay unfreeze verify",
    "frostline.ablation": "Arm Question ablate values_of",
    "frostline.backbones": "Backbone Channels Elsewhere InputSpec Kind Spec TextSpec Tokens build classifier_name "
    "code_digest elsewhere head_of kept_digest load_huggingface load_weights read_weights refill save_huggingface "
    "saved_tokenizer unfilled_norms",
    "frostline.cli": "main",
    "frostline.data": "Augment Buckets Fault Mix Samples Share Split Texts Words bounds_of class_weights counted "
    "each_part fault_of find_faults harmless_flip has_columns holds_texts least_samples list_pictures list_texts "
    "named_parts open_picture pass_by policy read_picture read_samples refuse split split_by_length unlabelled",
    "frostline.comparison": "Answers Difference Gathered LEVEL MEASURES gather holm of_samples of_seeds read_csv "
    "read_ultralytics side_by_side",
    "frostline.deployment": "Export Exported Prediction Trained evaluate_run export_run load_run predict_folder "
    "predict_texts",
    "frostline.freezing": "GRADIENTS FreezePlan GradientWatch Loss NormMode PlanHandle PlannedModule PlannedParameter "
    "across against_record apply check_free "
    "combined confirm digest digests forget_cached freeze leave_optimizer make_plan merge trained_batchnorm verify "
    "whole",
    "frostline.heads": "HeadName replace_classifier",
    "frostline.lora": "Adapters KINDS Kind adapt adapt_layers bare_name lay_out_adapters layers_with load_adapters "
    "merge_adapters merged save_adapters",
    "frostline.optimization": "DISCRIMINATIVE OptimizerName RateSchedule ScheduleName by_depth by_stage carry_state "
    "make_optimizer make_schedule param_groups stage_rates",
    "frostline.prepare": "Glyphs render_glyphs",
    "frostline.recipe": "Assembly Common Data Model Normalize Optimizer Phase Recipe Schedule Technique assemble "
    "check_free "
    "dump_recipe expanded finetune library_names library_text load_recipe masked_recipe "
    "masked_starter stage_names starter text_starter varied verify_recipe verify_run",
    "frostline.record": "ABLATION_FILE AblationRecord ArmRecord CARD_FILE CHECKPOINTS Claim EpochRecord Evaluation "
    "Json Mistake PREDICTIONS PRETRAINING PROOF_FILE PhaseRecord PlannedRun Predictions Proof RECIPE_FILE "
    "RECORD_FILE RUNS RunRecord Skipped StageOutline StageRow Status TOKENIZER read_ablation read_predictions "
    "read_record write_atomically write_json write_predictions",
    "frostline.recommendation": "Advice Checked Evidence Option Probe Recommendation StageEvidence Usual advise check "
    "check_judged judge linear_classifier linear_probe logme recommend record_features relative_gradients sizes "
    "some_of",
    "frostline.report": "Arms REPORT_FILE arms_from arms_of render said_apart write_comparison write_report",
    "frostline.selection": "BIASES HEAD INSIDE NECK NORMS STEM Convention ExampleInput Layer ModuleEntry Outline "
    "ParameterEntry Resolution Selector resolve Stage Words adapted_layers all_tensors bare call first_tensor guesses "
    "is_of_adapter is_weight_layer outline parents_of parse parse_call pick role_of tied_at_first undisturbed",
    "frostline.tasks": "Batch Classification ImageTask Inputs Loader MaskedTextTask Rows Task Teacher TextTask moved "
    "scores shape_of worst_mistakes",
    "frostline.replaying": "ReplayLoader Survey Views replay survey",
    "frostline.training": "BEST Best Course Device Display Keeper LAST Logs PhaseResult PhaseSettings "
    "PhaseState Precision ReplaySettings Replays Runtime SAVE_SECONDS Silent Snapshot State Teaching beginning "
    "checkpoint_bytes checkpoint_of display evaluate evaluating forget_peak_rss forget_snapshot hold_teacher "
    "inference_seconds is_out_of_memory judge load_checkpoint machine peak_rss_mb put read_snapshot run_phase said "
    "shard take_up_beginning timed versions",
    "frostline.unfreezing": "Phase Progress Unfreezing by_epoch freeze_out phase_at top_down unfreeze",
}


@pytest.mark.parametrize("folder", SURFACE)
def test_what_a_folder_offers(folder: str) -> None:
    module = importlib.import_module(folder)
    assert sorted(module.__all__) == sorted(SURFACE[folder].split())
    for name in module.__all__:
        # A function, a class or a value, and no module that happens to have its name.
        assert type(getattr(module, name)).__name__ != "module", name


def test_every_folder_is_pinned() -> None:
    from pathlib import Path

    source = Path(frostline.__path__[0])
    folders = {f"frostline.{path.parent.name}" for path in source.glob("*/__init__.py")}
    assert folders == SURFACE.keys() - {"frostline"}


@pytest.mark.parametrize("folder", ["frostline", "frostline.recipe", "frostline.replaying", "frostline.selection"])
def test_a_name_that_is_not_there(folder: str) -> None:
    module = importlib.import_module(folder)
    with pytest.raises(AttributeError, match=f"module '{folder}' has no attribute 'nonsense'"):
        _ = module.nonsense


def test_the_verbs_are_those_of_the_folders() -> None:
    from frostline.freezing import freeze, verify
    from frostline.optimization import param_groups
    from frostline.recipe import finetune, load_recipe
    from frostline.replaying import replay
    from frostline.selection import outline
    from frostline.unfreezing import unfreeze

    assert frostline.freeze is freeze
    assert frostline.verify is verify
    assert frostline.param_groups is param_groups
    assert frostline.finetune is finetune
    assert frostline.load_recipe is load_recipe
    assert frostline.outline is outline
    # Also once its room is imported: a room and a verb of one name would be one attribute.
    assert frostline.replay is replay
    assert frostline.unfreeze is unfreeze
