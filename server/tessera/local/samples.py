from models.samples import audio, image, video
