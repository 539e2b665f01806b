/**
 * Mendez-Ruiz, Gonzalez-Zapata, Reyes-Amezcua, Flores-Araiza, Lopez-Tiro, Mendez-Vazquez and Ochoa-Ruiz, "SuSana Distancia is all
 * you need: Enforcing class separability in metric learning via two novel distance-based loss functions for few-shot image
 * classification" (2023), arXiv 2305.09062: the Proto-Triplet loss and the ICNN loss.
 *
 * Proto-Triplet pushes a query away from the nearest wrong prototype; the ICNN loss is −ln of a score of how near neighbours of
 * the same class are, and how far those of others. We follow the authors' code where it and the idea differ: the nearest neighbour is dropped
 * also between two different sets (`dropSelf`), and Λ is divided by the nearest neighbour of another class.
 */
export { embeddingIcnnScore, type EmbeddingIcnnOptions, type EmbeddingIcnnScore } from './embedding-score'
export { episodeLoss, type EpisodeEmbeddings, type EpisodeLoss, type EpisodeLossName, type EpisodeLossOptions } from './episode-loss'
export { icnnLoss, icnnScore, type IcnnOptions } from './icnn-score'
export { protoTripletLoss, tripletLoss, type TripletOptions } from './triplet'
