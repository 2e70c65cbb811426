import type { Evidence, Invariant, Violation } from './evidence.ts';
import {
  attemptsSettleOnce,
  budgetsAreKept,
  deadLettersAgree,
  everyStartIsLogged,
  secondStartsAreExplained,
  staleOutcomesAreRefused,
  tokensNeverRepeat,
} from './invariants/attempts.ts';
import { actionsAreAudited } from './invariants/audit.ts';
import { orderIsKept, queuesDoNotStandStill, slotsAreNotExceeded } from './invariants/order.ts';
import { deadWorkersAreReclaimedInTime, innocentsSurvivePills } from './invariants/recovery.ts';
import { errorsNeedAction, outagesAreLoggedOnce, processesEndCleanly, systemComesToRest } from './invariants/rest.ts';
import {
  acceptedTasksExistAndEnd,
  batchesAreWhole,
  cancelsHold,
  noSubmissionExistsTwice,
  refusedSubmissionsDoNotExist,
  tasksEndAsTheyShould,
} from './invariants/submissions.ts';
import {
  attemptsAreStoredOnce,
  countersFit,
  pairsFitMetadata,
  prunedTasksLeaveNothing,
  rowsHaveSubmissions,
  tasksAreInOneTable,
} from './invariants/tables.ts';
import { nothingStoredIsUnknown, refusalsAreTrue, shownEndsHold } from './invariants/verdicts.ts';

/** The properties that every run must have, whatever happened in it. */
export const INVARIANTS: readonly Invariant[] = [
  acceptedTasksExistAndEnd,
  refusedSubmissionsDoNotExist,
  noSubmissionExistsTwice,
  batchesAreWhole,
  tasksEndAsTheyShould,
  cancelsHold,
  nothingStoredIsUnknown,
  shownEndsHold,
  tasksAreInOneTable,
  rowsHaveSubmissions,
  pairsFitMetadata,
  prunedTasksLeaveNothing,
  everyStartIsLogged,
  attemptsAreStoredOnce,
  attemptsSettleOnce,
  tokensNeverRepeat,
  secondStartsAreExplained,
  staleOutcomesAreRefused,
  refusalsAreTrue,
  budgetsAreKept,
  countersFit,
  deadLettersAgree,
  actionsAreAudited,
  orderIsKept,
  queuesDoNotStandStill,
  slotsAreNotExceeded,
  deadWorkersAreReclaimedInTime,
  innocentsSurvivePills,
  systemComesToRest,
  processesEndCleanly,
  errorsNeedAction,
  outagesAreLoggedOnce,
];

export interface Verdict {
  readonly invariant: string;
  readonly violations: readonly Violation[];
}

/** Checks a run against all invariants. */
export function check(evidence: Evidence): Verdict[] {
  return INVARIANTS.map((invariant) => ({ invariant: invariant.name, violations: invariant(evidence) }));
}
